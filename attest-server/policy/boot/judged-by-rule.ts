import type { BootState } from '../../verify/boot/boot-state.ts';
import { type BootRules, wantsRevocations } from './rules.ts';

/** The name of a component, in a reference or by the facts of a boot. */
export interface ComponentName {
  readonly pcr: number | null;
  readonly kind: string | null;
  readonly description: string;
}

/**
 * True for what a rule of the policy judges instead of a reference: who signed what booted, which revocations there
 * are, the machine owner's keys.
 */
export function isJudgedByRule(rules: BootRules, { pcr, kind, description }: ComponentName): boolean {
  if (pcr === 14) return rules.mok !== null;
  if (pcr !== 7) return false;
  const name = /^\w+/.exec(description)?.[0] ?? '';
  if (name === 'SbatLevel') return rules.sbatMinimum !== null;
  if (kind === 'authority' || name === 'db') return rules.signers.length > 0;
  if (name === 'dbx') return wantsRevocations(rules.dbx);
  return machineOwnerLists.has(name) && rules.mok === 'allow';
}

const machineOwnerLists: ReadonlySet<string> = new Set(['MokList', 'MokListX', 'MokSBState', 'MokDBState']);

/** An event, by the facts of the boot. */
interface EventFact {
  readonly kind: 'authority' | 'variable';
  readonly description: string;
}

/**
 * The names that the facts give to each event. The log's own word would not do: naming a changed key `db`, or typing a list of
 * keys as an authority, must not take it away from the reference and from the rule alike.
 */
export function factsOf({ secureBoot }: BootState): ReadonlyMap<number, EventFact> {
  const { databases, authorities, machineOwner, sbatEvents } = secureBoot;
  const variable = (description: string): EventFact => ({ kind: 'variable', description });
  return new Map<number, EventFact>([
    ...databases.map(({ event, name }) => [event, variable(name)] as const),
    ...machineOwner.map(({ event, name }) => [event, variable(name)] as const),
    ...authorities.map(({ event, source }) => [event, { kind: 'authority', description: source }] as const),
    ...sbatEvents.map((event) => [event, variable('SbatLevel')] as const),
  ]);
}

/** True for a list or switch of shim's in PCR 14 that allows nothing: where no owner's key may be, no reference need know it. */
export function holdsNoOwnerKey({ secureBoot }: BootState, event: number): boolean {
  const found = secureBoot.machineOwner.find((one) => one.event === event);
  return found !== undefined && ['empty', 'vendor', 'off'].includes(found.content);
}
