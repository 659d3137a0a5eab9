import type { BootState } from '../../verify/boot/boot-state.ts';
import { type BootRules, wantsRevocations } from './rules.ts';

/** What a component is called, in a reference or by the facts of a boot. */
export interface Referenced {
  readonly pcr: number | null;
  readonly kind: string | null;
  readonly description: string;
}

/**
 * True for what a rule of the policy judges instead of a reference: who signed what booted, which revocations there
 * are, the machine owner's keys.
 */
export function isJudgedByRule(rules: BootRules, { pcr, kind, description }: Referenced): boolean {
  if (pcr === 14) return rules.mok === 'allow';
  if (pcr !== 7) return false;
  const name = /^\w+/.exec(description)?.[0] ?? '';
  if (name === 'SbatLevel') return rules.sbatMinimum !== null;
  if (kind === 'authority' || name === 'db') return rules.signers.length > 0;
  if (name === 'dbx') return wantsRevocations(rules.dbx);
  return machineOwnerLists.has(name) && rules.mok === 'allow';
}

const machineOwnerLists: ReadonlySet<string> = new Set(['MokList', 'MokListX', 'MokSBState', 'MokDBState']);

/**
 * What the facts call each event. The log's own word would not do: naming a changed key `db` must not take it away
 * from the reference and from the rule alike.
 */
export function namesOf({ secureBoot }: BootState): ReadonlyMap<number, string> {
  const { databases, authorities, machineOwner, sbatEvents } = secureBoot;
  return new Map([
    ...databases.map(({ event, name }) => [event, name] as const),
    ...machineOwner.map(({ event, name }) => [event, name] as const),
    ...authorities.map(({ event, source }) => [event, source] as const),
    ...sbatEvents.map((event) => [event, 'SbatLevel'] as const),
  ]);
}
