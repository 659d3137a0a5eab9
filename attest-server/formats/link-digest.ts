import { hash } from 'node:crypto';

/** The digest that a list of known files has for a symbolic link to this target: no file of any use has these bytes. */
export function linkDigest(target: string): Buffer {
  return hash('sha256', `link\0${target}`, 'buffer');
}
