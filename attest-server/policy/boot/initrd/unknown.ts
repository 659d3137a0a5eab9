import { setOf, shownThings, type UnknownThings } from '../../unknown.ts';
import { type JudgedInitrd, placeOf, type UnknownEntry } from './judge-initrd.ts';

/** More files than these are not typed one by one, nor any with a longer path. */
const mostTyped = 8;
const longestTyped = 256;

/** Files in initrds that no list in force has; null if there are none. Of many files, those are alike that have the same ones first. */
export function unknownInInitrds(judged: readonly JudgedInitrd[]): UnknownThings | null {
  const strange = judged.filter(({ unknownCount, faults }) => unknownCount + faults.length > 0);
  if (strange.length === 0) return null;
  const entries = strange.flatMap(({ unknown }) => unknown);
  const faults = strange.flatMap((one) => one.faults);
  const count = strange.reduce((sum, { unknownCount }) => sum + unknownCount, 0);
  const paths = entries.map(({ entry }) => placeOf(entry));
  const areTyped = count <= mostTyped && paths.every((path) => path.length <= longestTyped);
  const [known = null, ...others] = new Set(strange.map(({ outOfForce }) => outOfForce));
  return {
    set: setOf([...entries.map(markOf), ...faults.map(({ offset, code }) => `fault ${offset} ${code}`)]),
    things: shownThings([
      ...entries.map(thingOf),
      ...faults.map(({ text }) => ({
        what: 'initrd that cannot be read',
        name: text,
        digest: null,
        more: 0,
      })),
    ]),
    own: false,
    knownBy: others.length === 0 ? known : null,
    lacks: lackOf(entries, faults),
    inInitrd: true,
    ...(areTyped && { only: paths }),
  };
}

function markOf({ entry, listed }: UnknownEntry): string {
  return `${placeOf(entry)} ${listed ?? `${entry.sha256} ${entry.mode} ${entry.device}`}`;
}

function thingOf({ entry }: UnknownEntry) {
  const digest = entry.sha256 === undefined ? null : `sha256:${entry.sha256}`;
  return { what: 'file in the initrd', name: placeOf(entry), digest, more: 0 };
}

function lackOf(entries: readonly UnknownEntry[], faults: JudgedInitrd['faults']): string | null {
  const [fault] = faults;
  if (fault !== undefined) return `its initrd cannot be read: ${fault.text}`;
  const bad = entries.find(({ listed }) => listed === null);
  return bad === undefined ? null : `no list makes ${placeOf(bad.entry)} known: ${bad.why}`;
}
