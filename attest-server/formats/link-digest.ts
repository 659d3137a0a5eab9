import { hash } from 'node:crypto';

/** What stands in a list of known files for a symbolic link to this target: no file of any use has these bytes. */
export function linkDigest(target: string): Buffer {
  return hash('sha256', `link\0${target}`, 'buffer');
}
