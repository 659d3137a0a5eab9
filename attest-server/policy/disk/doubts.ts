import type { LocatedFault } from '../file/policy-error.ts';
import { fieldOf, listOf } from '../file/raw-value.ts';
import { isEverything } from '../glob.ts';
import type { GroupBase } from '../group.ts';
import { type DiskRules, defaultDiskRules } from './rules.ts';

/** Rules that are allowed, and may not be what was meant. */
export function doubtsIn(rules: DiskRules, { require }: GroupBase): LocatedFault[] {
  const doubts: LocatedFault[] = [];
  const isWritten = JSON.stringify(rules) !== JSON.stringify(defaultDiskRules);
  if (isWritten && !require.includes('disk'))
    doubts.push({ path: ['disk'], text: 'require does not name disk, so that this is only reported' });
  if (rules.ciphers.some(isEverything))
    doubts.push({
      path: ['disk', 'ciphers'],
      text: 'any cipher is taken, but for one that encrypts nothing',
    });
  if (rules.versions.includes('luks1'))
    doubts.push({
      path: ['disk', 'versions'],
      text: 'LUKS1 derives its keys by PBKDF2 alone, and has no checksum of its header',
    });
  return doubts;
}

/** Rules that a file states twice. */
export function contradictionsIn(given: unknown): LocatedFault[] {
  const paths = listOf(fieldOf(given, 'paths')).slice(0, 64);
  return paths.flatMap((path, index) =>
    typeof path === 'string' && paths.indexOf(path) < index
      ? [{ path: ['paths', index], text: `names ${JSON.stringify(path)} twice` }]
      : [],
  );
}
