import type { Reference } from '../../formats/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import { type Policy, type PolicyGroup, unmatched } from '../policy.ts';
import { comparedBanks } from './compared-pcrs.ts';
import type { JudgedStage } from './judged-stage.ts';
import type { ReferencedComponent } from './prepared-components.ts';
import { isComparedBy, type PreparedReference, prepareReference } from './reference-set.ts';
import { bootsLike, has, isCode } from './revoked.ts';
import { uncapped } from './uncapped.ts';
import { vouchedBoot } from './vouched-boot.ts';

/** An active reference that affirms what another one names, too. */
export interface SharedBoot {
  readonly name: string;
  /** It names all of it: where the other one is revoked, boots like this one are, too. */
  readonly whole: boolean;
  /** Where it has a kernel, initrd or loader of it: these stay good as long as it is active. */
  readonly stages: readonly JudgedStage[];
}

/**
 * Which active references affirm what this one names, by name; those of groups that go by other references do not count.
 * @param at milliseconds since the epoch; an expired one affirms nothing
 */
export function sharedWith(
  subject: Reference,
  references: readonly Reference[],
  { groups }: Policy,
  at: number,
): readonly SharedBoot[] {
  if (subject.kind !== 'boot') return [];
  const concerned = [...groups, unmatched].filter((group) => counts(subject, group));
  const prepared = prepareReference(subject, noMasks);
  return references.flatMap((other) => {
    if (other.name === subject.name || other.kind !== 'boot' || other.state !== 'active') return [];
    if (!concerned.some(({ name, rules }) => isComparedBy(name, rules.boot, other))) return [];
    const active = prepareReference(other, noMasks);
    if (active.expires <= at) return [];
    const stages = prepared.components.all.filter((one) => isCode(one) && has(active, one)).map(stageOf);
    const whole = namesAll(active, prepared);
    return whole || stages.length > 0 ? [{ name: other.name, whole, stages: [...new Set(stages)] }] : [];
  });
}

/** Whether boots of a group are like this reference, as far as it names them; for references of boots only. */
export function likeness(subject: Reference): (proven: Proven, group: PolicyGroup) => boolean {
  const byGroup = new Map<string, PreparedReference>();
  return (proven, group) => {
    if (!counts(subject, group)) return false;
    const { boot } = proven;
    const banks = uncapped(proven);
    const rules = group.rules.boot;
    const prepared = byGroup.get(group.name) ?? prepareReference(subject, rules.masks);
    byGroup.set(group.name, prepared);
    const vouched = boot === null ? null : vouchedBoot(boot, banks, rules, [prepared]);
    return bootsLike(prepared, vouched, banks);
  };
}

/** Two references are compared as they are. */
const noMasks: readonly never[] = [];

/** A revocation counts for its own group, even if the policy names others. */
function counts(subject: Reference, { name, rules }: PolicyGroup): boolean {
  return subject.group === name || isComparedBy(name, rules.boot, subject);
}

function stageOf({ stage }: ReferencedComponent): JudgedStage {
  return stage;
}

function namesAll(active: PreparedReference, subject: PreparedReference): boolean {
  if (subject.strict) return active.strict && hasValues(active.reference, subject.reference);
  return subject.components.all.every(
    (one) => has(active, one) || active.components.all.some(({ key }) => key === one.key),
  );
}

/** In some bank, as a revoked one counts by each of them. */
function hasValues({ pcrs: known }: Reference, { pcrs: named }: Reference): boolean {
  return comparedBanks.some((bank) => {
    const values = Object.entries(named[bank] ?? {});
    return values.length > 0 && values.every(([pcr, value]) => known[bank]?.[pcr] === value);
  });
}
