import { type PartName, partNames } from '../wire/evidence.ts';
import type { Aspect } from './aspect.ts';
import { boot } from './boot/boot.ts';
import { disk } from './disk/disk.ts';
import { firewall } from './firewall/firewall.ts';
import { host } from './host/host.ts';
import { identity } from './identity/identity.ts';
import { runtime } from './runtime/runtime.ts';

/** The aspects that this version appraises, in the order in which they are judged and shown. */
const listed = [identity, boot, runtime, disk, firewall, host] as const;
type ListedAspect = (typeof listed)[number];

export type BuiltAspect = ListedAspect['name'];
/** The rules of each aspect, for one group. */
export type AspectRules = { readonly [A in ListedAspect as A['name']]: ReturnType<A['rules']> };

/** As they are walked by whoever treats all alike. */
export const aspects: readonly Aspect<BuiltAspect, unknown>[] = listed;

/** The parts of evidence that some aspect reads, in the order of their names' list. */
export const askedParts: readonly PartName[] = partNames.filter((name) =>
  aspects.some(({ parts }) => parts.includes(name)),
);

/** The paths that the rules of a group speak of: an agent is asked about these. */
export function askedPaths(rules: AspectRules): readonly string[] {
  const asked = aspects.flatMap((aspect) => aspect.paths?.(rules[aspect.name]) ?? []);
  return asked.length === 0 ? noPaths : [...new Set(asked)];
}

/** Whether by the rules of a group an initrd counts by what is in it: then it is sent for. */
export function asksInitrds({ boot: { scope } }: Pick<AspectRules, 'boot'>): boolean {
  return scope.initrd === 'contents';
}

const noPaths: readonly string[] = [];

/** The rules of each aspect as a policy file would say them, defaults filled in. */
export function shownRules(rules: AspectRules): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    aspects.flatMap(({ name, show }) => {
      const own = rules[name];
      return own === null ? [] : [[name, show?.(own) ?? own]];
    }),
  );
}

export const builtAspects: readonly BuiltAspect[] = listed.map(({ name }) => name);

/**
 * The rules of a group, where what the file leaves out has its default.
 * @param given what the file says, by aspect; it fits their schemas
 */
export function rulesOf(given: Readonly<Record<string, unknown>>): AspectRules {
  const rules = Object.fromEntries(aspects.map((aspect) => [aspect.name, aspect.rules(given[aspect.name])]));
  // One member for each of the list, by its own function: what the type says and the compiler cannot follow.
  return rules as AspectRules;
}
