import { hash } from 'node:crypto';
import { join } from 'node:path';
import { asBytes, type Mount, mountFinder, parseMountTable } from '../../attest-server/wire/mount-table.ts';
import { comesWithContainers, isBelow, overlayLayers } from '../../attest-server/wire/protected-mounts.ts';
import { resolveAllBelow } from '../collectors/resolve-below.ts';
import { readNow } from './read-now.ts';
import type { WatchedSource } from './watch.ts';

/**
 * The mounts of the host on which protected paths lie, and those below them. What comes and goes with containers, and
 * what lies elsewhere, is not among them. While no path is protected, no mount counts.
 * @param paths those that the last challenge asked for
 */
export function mounts(sysroot: string, paths: () => readonly string[]): WatchedSource {
  const file = join(sysroot, 'proc/1/mountinfo');
  let before: Buffer | null = null;
  let text = '';
  let asked: readonly string[] = [];
  let looks = 0;
  return {
    what: 'mounts',
    everySeconds: 1,
    async look() {
      const now = paths();
      if (now.length === 0) return null;
      const bytes = readNow(file, most);
      if (bytes === null) return 'none';
      // Nearly always: then nothing is parsed. That a link leads elsewhere is seen some seconds later.
      looks += 1;
      if (before !== null && looks % linksEvery !== 0 && now.join() === asked.join() && bytes.equals(before))
        return text;
      const copy = Buffer.from(bytes);
      const reals = (await resolveAllBelow(sysroot, now)).map(({ real }) => real);
      text = hash('sha256', JSON.stringify([reals, concerning(copy, reals)]), 'hex');
      before = copy;
      asked = now;
      return text;
    },
  };
}

/** As `parseMountTable` takes. */
const most = 16 * 1024 * 1024;
const linksEvery = 15;

/** Lines of the table, one character a byte. */
function concerning(bytes: Buffer, reals: readonly (string | null)[]): readonly string[] {
  const table = parseMountTable(bytes);
  const find = mountFinder(table);
  const byId = new Map(table.map((mount) => [mount.id, mount]));
  const protectedPaths = reals.filter((real) => real !== null).map(asBytes);
  const standing = new Set(protectedPaths.map(find).filter((mount) => mount !== null));
  const around = { find, standing, byId };
  const kept = new Set<Mount>(standing);
  for (const mount of table)
    for (const path of protectedPaths)
      if (
        mount.mountPoint === path ||
        (isBelow(mount.mountPoint, path) && !comesWithContainers(mount, path, around))
      )
        kept.add(mount);
  // A set is walked to what was added on the way: what an overlay is made of, and what each lies on.
  for (const mount of kept) {
    const under = byId.get(mount.parent);
    if (under !== undefined) kept.add(under);
    if (mount.type !== 'overlay') continue;
    for (const layer of overlayLayers(mount) ?? []) {
      const at = find(layer);
      if (at !== null) kept.add(at);
    }
  }
  const lines = bytes.toString('latin1').split('\n');
  return table.flatMap((mount, index) => (kept.has(mount) ? [lines[index] ?? ''] : []));
}
