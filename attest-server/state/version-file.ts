import { join } from 'node:path';
import { storageCauseOf } from '../formats/server-fault.ts';
import { readPrivate, writePrivate } from './private-file.ts';

/**
 * For how long this version has run on a state folder, in milliseconds; null if no other one did. Earlier versions
 * wrote no such file.
 * @param ranBefore whether any server ran here
 */
export function upgradedFor(dir: string, version: string, now: number, ranBefore: boolean): number | null {
  const file = join(dir, 'version');
  const found = readVersion(file);
  if (found?.version === version) return found.since === null ? null : Math.max(0, now - found.since);
  const since = found === null && !ranBefore ? null : now;
  try {
    writePrivate(file, `${version} ${since ?? 'first'}\n`, 'replace');
  } catch (error) {
    // Then it is new at the next start, too.
    if (storageCauseOf(error) !== 'disk_full') throw error;
  }
  return since === null ? null : 0;
}

/** Null if there is none. What nobody can read is of no version. */
function readVersion(
  file: string,
): { readonly version: string | null; readonly since: number | null } | null {
  let text: string;
  try {
    text = readPrivate(file);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  const [, version = null, since = ''] = /^(\S+) (first|\d{1,15})\n$/.exec(text) ?? [];
  return { version, since: since === 'first' ? null : Number(since) };
}
