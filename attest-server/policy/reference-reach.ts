import type { DigestList } from '../formats/digest-list.ts';
import type { Reference, RuntimeFiles } from '../formats/reference.ts';
import type { Proven } from '../verify/proven.ts';
import type { Judge } from './aspect.ts';
import { aspects } from './aspects.ts';
import * as ofBoots from './boot/reference-reach.ts';
import { judgedAlone } from './judged-alone.ts';
import { knownListInSteps } from './known-lists.ts';
import type { Policy, PolicyGroup } from './policy.ts';
import { saysTheSame } from './reference-content.ts';

export interface SharedReference extends ofBoots.SharedBoot {
  /** For kind `runtime`: how many files of it the active one lists, too; these stay good as long as it is active. */
  readonly files?: number;
}

/** Whether what a node of a group proved is like a reference; in steps of some milliseconds. @param at milliseconds since the epoch */
export type Likeness = (
  proven: Proven,
  node: string,
  group: PolicyGroup,
  at: number,
) => Generator<void, boolean>;

/** Null if this version has no aspect that compares nodes with references of this kind. */
export function likenessTo(subject: Reference): Likeness | null {
  if (subject.kind === 'boot') {
    const isLike = ofBoots.likeness(subject);
    return function* (proven, _node, group) {
      yield;
      return isLike(proven, group);
    };
  }
  const concerned = aspects.filter(
    ({ referenceKind, alsoReads = [] }) => referenceKind === subject.kind || alsoReads.includes(subject.kind),
  );
  if (concerned.length === 0) return null;
  // As if it were in force, and nothing else: what it would affirm.
  const alone: readonly Reference[] = [{ ...subject, state: 'active', expires: null }];
  const prepared = new Map<PolicyGroup, readonly Judge[]>();
  return function* (proven, name, group, at) {
    const judges =
      prepared.get(group) ??
      concerned.map((aspect) =>
        aspect.prepare(group.rules[aspect.name], { group, references: alone, remembers: false }),
      );
    prepared.set(group, judges);
    const node = judgedAlone(name, proven);
    for (const judge of judges) {
      if (judge.ahead) yield* judge.ahead(proven, node, at);
      if (judge.judge(proven, node, at).references?.includes(subject.name)) return true;
    }
    return false;
  };
}

/**
 * Which active references affirm what this one names, by name. Of files: those that list some of them. Of firewalls and
 * disks: those that say the same. In steps of some milliseconds.
 * @param at milliseconds since the epoch; an expired one affirms nothing
 */
export function* sharedWithInSteps(
  subject: Reference,
  references: readonly Reference[],
  policy: Policy,
  at: number,
): Generator<void, readonly SharedReference[]> {
  if (subject.kind === 'boot') return ofBoots.sharedWith(subject, references, policy, at);
  const inForce = references.filter(
    ({ name, state, expires }) =>
      name !== subject.name && state === 'active' && (expires === null || Date.parse(expires) > at),
  );
  if (subject.runtime !== undefined) return yield* sharingFiles(subject.runtime, inForce);
  return inForce
    .filter((other) => saysTheSame(subject, other))
    .map(({ name }) => ({ name, whole: true, stages: [] }));
}

function* sharingFiles(
  subject: RuntimeFiles,
  inForce: readonly Reference[],
): Generator<void, readonly SharedReference[]> {
  const list = yield* knownListInSteps(subject);
  const sharing: SharedReference[] = [];
  for (const { name, runtime } of inForce) {
    if (runtime === undefined) continue;
    const files = yield* countShared(list, yield* knownListInSteps(runtime));
    if (files > 0) sharing.push({ name, whole: files === list.size, stages: [], files });
  }
  return sharing;
}

/** By content, wherever a file lies. */
function* countShared(list: DigestList, other: DigestList): Generator<void, number> {
  let count = 0;
  for (let index = 0; index < list.size; index++) {
    if (other.find(list.digestAt(index)) >= 0) count += 1;
    if (index % digestsInStep === digestsInStep - 1) yield;
  }
  return count;
}

const digestsInStep = 16_384;
