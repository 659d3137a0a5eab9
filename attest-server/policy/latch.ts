import { modes } from '../wire/verdict.ts';
import type { LocatedFault } from './file/policy-error.ts';
import { covers, isEverything } from './glob.ts';
import { type PolicyGroup, unmatched } from './policy.ts';

/** Whether the latch holds a group of this name. @param latched names of groups; none: all of today and tomorrow */
export function isLatched(latched: readonly string[], group: string): boolean {
  return latched.length === 0 || latched.includes(group);
}

/** Why trust cannot be enabled for good for these groups; empty if it can. */
export function notLatchable(latched: readonly string[], groups: readonly PolicyGroup[]): LocatedFault[] {
  const missing = latched
    .filter((name) => !groups.some((group) => group.name === name))
    .map((name) => ({ path: ['groups'], text: `there is no group ${name}` }));
  return [...missing, ...observed(latched, groups)];
}

/**
 * Where a policy asks less of nodes that the latch covers than the one before it; empty if it may come into force.
 * Nodes that nobody has seen yet count as well: what is compared are the groups, by their selectors.
 * @param before null: not known; then only what holds for each policy under a latch is looked at
 */
export function weakenedBy(
  latched: readonly string[],
  before: readonly PolicyGroup[] | null,
  after: readonly PolicyGroup[],
): LocatedFault[] {
  const held = (before ?? []).filter(({ name, tpm }) => isLatched(latched, name) && tpm !== 'absent');
  const found = held.flatMap((group) => [
    ...droppedDemands(group, after),
    ...takenNodes(group, latched, before ?? [], after),
  ]);
  const named = new Set(found.map(({ path }) => path.join('.')));
  return [
    ...found,
    ...observed(latched, after).filter(({ path }) => path[0] === 'groups' && !named.has(path.join('.'))),
  ];
}

/** Groups that the latch covers and that are in `observe`: their nodes are never marked. */
function observed(latched: readonly string[], groups: readonly PolicyGroup[]): LocatedFault[] {
  const found: LocatedFault[] = groups.flatMap((group, index) =>
    isLatched(latched, group.name) && group.tpm !== 'absent' && group.mode === 'observe'
      ? [
          {
            path: ['groups', index, 'mode'],
            text: `group ${group.name}, which the latch covers, is in observe: set mode label or enforce`,
          },
        ]
      : [],
  );
  if (latched.length === 0 && !groups.some(takesAll))
    found.push({
      path: ['groups'],
      text: 'the latch covers every group, and nodes that match none are only observed: end with a group for "*"',
    });
  return found;
}

/** Demands that the group of the same name no longer makes. */
function droppedDemands(group: PolicyGroup, after: readonly PolicyGroup[]): LocatedFault[] {
  const index = after.findIndex(({ name }) => name === group.name);
  const next = after[index];
  if (next === undefined) return [];
  return missingDemands(group, next).map(({ field, text }) => ({
    path: ['groups', index, field],
    text: `${text}, and the latch covers group ${group.name}: neither mode nor require may shrink`,
  }));
}

/** Groups that would take nodes away from this one and ask for less, or are not covered. */
function takenNodes(
  group: PolicyGroup,
  latched: readonly string[],
  before: readonly PolicyGroup[],
  after: readonly PolicyGroup[],
): LocatedFault[] {
  const index = after.findIndex(({ name }) => name === group.name);
  const next = after[index];
  const keepsAll = next !== undefined && isWider(next, group);
  const rest = after.some(takesAll) ? after : [...after, unmatched];
  const above = before.slice(0, before.indexOf(group));
  return (keepsAll ? after.slice(0, index) : rest).flatMap((other, place) => {
    if (other === next || areApart(other, group)) return [];
    if (other !== unmatched && isLatched(latched, other.name) && missingDemands(group, other).length === 0)
      return [];
    if (above.some((known) => known.name === other.name && isWider(known, other))) return [];
    const whose = `nodes of group ${group.name}, which the latch covers`;
    return other === unmatched
      ? [{ path: ['groups'], text: `${whose}, would match no group and be only observed` }]
      : [
          {
            path: ['groups', place, 'nodes'],
            text: `group ${other.name} would take ${whose}, and ${isLatched(latched, other.name) ? 'asks for less' : 'is not covered'}: put it below that group, or choose its nodes by names that no node of that group has`,
          },
        ];
  });
}

/** Demands of `group` on a node that `next` does not make. */
function missingDemands(
  group: PolicyGroup,
  next: PolicyGroup,
): readonly { readonly field: string; readonly text: string }[] {
  if (next.tpm === 'absent') return [{ field: 'tpm', text: 'absent asks for no proof' }];
  const required = group.require.filter((aspect) => !next.require.includes(aspect));
  const vouched = group.vouched.filter(
    (aspect) => next.require.includes(aspect) && !next.vouched.includes(aspect),
  );
  return [
    ...(modes.indexOf(next.mode) < modes.indexOf(group.mode)
      ? [{ field: 'mode', text: `${next.mode} is less than ${group.mode}` }]
      : []),
    ...(required.length > 0 ? [{ field: 'require', text: `${required.join(', ')} is missing` }] : []),
    ...(vouched.length > 0
      ? [{ field: 'require', text: `${vouched.join(', ')} need no longer be vouched for by the TPM` }]
      : []),
  ];
}

/** Each node that matches `group` matches `wide`. */
function isWider(wide: PolicyGroup, group: PolicyGroup): boolean {
  return (
    group.nodes.every((glob) => wide.nodes.some((other) => covers(other, glob))) &&
    Object.entries(wide.labels).every(([key, value]) => group.labels[key] === value)
  );
}

/** No node can match both: their names begin otherwise, or they want another value of one label. */
function areApart(a: PolicyGroup, b: PolicyGroup): boolean {
  if (Object.entries(a.labels).some(([key, value]) => (b.labels[key] ?? value) !== value)) return true;
  return a.nodes.every((one) => b.nodes.every((other) => beginApart(one, other)));
}

function beginApart(one: string, other: string): boolean {
  const [a, b] = [literal(one), literal(other)];
  if (!a.isWhole && !b.isWhole) return !a.text.startsWith(b.text) && !b.text.startsWith(a.text);
  if (a.isWhole && b.isWhole) return a.text !== b.text;
  return a.isWhole ? !a.text.startsWith(b.text) : !b.text.startsWith(a.text);
}

/** A glob up to its first `*` or `?`. */
function literal(glob: string): { readonly text: string; readonly isWhole: boolean } {
  const end = glob.search(/[*?]/);
  return end < 0 ? { text: glob, isWhole: true } : { text: glob.slice(0, end), isWhole: false };
}

function takesAll({ nodes, labels }: PolicyGroup): boolean {
  return nodes.some(isEverything) && Object.keys(labels).length === 0;
}
