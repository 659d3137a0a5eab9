import { setOf, shownThings, type UnknownThings } from '../unknown.ts';
import type { Example } from './examples.ts';
import type { SeenEntries } from './findings.ts';
import { markOf } from './memory.ts';

/** More files than these are not typed one by one. */
const mostTyped = 8;

/**
 * Files and other things that the kernel measured and no reference in force knows; null if there are none. Of nodes that ran
 * many, those are alike that ran the same ones first.
 * @param inContainers what no reference for containers knows
 * @param knownBy a reference that is not in force and has all of `unknown`
 */
export function unknownFilesOf(
  unknown: SeenEntries,
  measured: SeenEntries,
  inContainers: SeenEntries,
  knownBy: () => string | null,
): UnknownThings | null {
  const all = [unknown, measured, inContainers].flatMap(({ examples }) => examples);
  if (all.length === 0) return null;
  const { examples } = unknown;
  const isFew = !unknown.more && measured.examples.length === 0 && examples.length <= mostTyped;
  return {
    set: setOf(all.map(markOf)),
    things: shownThings([
      ...examples.map((example) => thingOf('file', example)),
      ...measured.examples.map((example) => thingOf('measured', example)),
      ...inContainers.examples.map((example) => thingOf('file in a container', example)),
    ]),
    own: false,
    knownBy: measured.examples.length + inContainers.examples.length === 0 ? knownBy() : null,
    lacks:
      examples.length + measured.examples.length === 0
        ? 'files of containers are known by the references that runtime.containers of the policy names'
        : null,
    ...(isFew && examples.length > 0 && { only: examples.map(({ path }) => path) }),
  };
}

function thingOf(what: string, { name, digest }: Example) {
  return { what, name, digest: digest === '' ? null : digest, more: 0 };
}
