import { z } from 'zod';
import { plainName } from '../../formats/reference.ts';
import type { LocatedFault } from '../file/policy-error.ts';
import { fieldOf, listOf } from '../file/raw-value.ts';
import type { GroupBase } from '../group.ts';
import { type Opening, openingForm, parseOpening } from './opening.ts';
import type { Owner } from './owners/owner.ts';
import { type NamedOwners, ownerFaults, ownersOf, ownersSchema } from './owners/policy-owners.ts';
import { parseRequirement, type Requirement, requirementForm } from './requirement.ts';

/** The rules of a group on the firewall of its nodes. */
export interface FirewallRules {
  /** Names of references, any of which may match; null: any active one of the group. */
  readonly baseline: readonly string[] | null;
  readonly require: readonly Requirement[];
  readonly forbid: readonly Opening[];
  /** Whose rules are not compared, as long as they are in the forms that it writes. */
  readonly owners: readonly Owner[];
  /** The same as a policy has them. */
  readonly namedOwners: NonNullable<NamedOwners>;
}

const line = z.string().min(1, 'empty').max(512);

export const firewallSchema = z.strictObject({
  baseline: z
    .union([
      plainName,
      z
        .array(plainName)
        .min(1, 'empty, so that no rules could match; leave it out for any of the group')
        .max(64),
    ])
    .optional()
    .describe(
      'name of the reference that the rules must be like, or several, any of which; default: any active reference of the group',
    ),
  require: z
    .array(line)
    .min(1, 'empty: leave it out')
    .max(256)
    .optional()
    .describe(`chains that must be there, with hook and policy where said: ${requirementForm}`),
  forbid: z
    .array(line)
    .min(1, 'empty: leave it out')
    .max(64)
    .optional()
    .describe(`new connections that nothing may accept: ${openingForm}`),
  owners: ownersSchema,
});

/** @param given fits the schema and has no contradictions */
export function firewallRules(given: unknown): FirewallRules {
  const { baseline, require = [], forbid = [], owners = ['shipped'] } = firewallSchema.parse(given ?? {});
  return {
    baseline: baseline === undefined ? null : typeof baseline === 'string' ? [baseline] : baseline,
    require: require.map(parseRequirement).filter((one) => typeof one !== 'string'),
    forbid: forbid.map(parseOpening).filter((one) => typeof one !== 'string'),
    owners: ownersOf(owners),
    namedOwners: owners,
  };
}

/** Reads the raw value: what is no sentence of its language is reported beside the faults of the schema. */
export function firewallContradictions(given: unknown): LocatedFault[] {
  const faults = (key: 'require' | 'forbid', parse: (text: string) => unknown): LocatedFault[] =>
    listOf(fieldOf(given, key))
      .slice(0, 256)
      .flatMap((text, index) => {
        const parsed = typeof text === 'string' && text !== '' ? parse(text) : null;
        return typeof parsed === 'string' ? [{ path: [key, index], text: parsed }] : [];
      });
  return [...faults('require', parseRequirement), ...faults('forbid', parseOpening), ...ownerFaults(given)];
}

/** Rules that are allowed, and may not be what was meant. */
export function firewallDoubts(rules: FirewallRules, { require, severity }: GroupBase): LocatedFault[] {
  const written = [
    ['require', rules.require.length > 0],
    ['forbid', rules.forbid.length > 0],
    ['baseline', rules.baseline !== null],
  ] as const;
  const first = written.find(([, isWritten]) => isWritten)?.[0];
  if (first === undefined) return [];
  if (!require.includes('firewall'))
    return [{ path: ['firewall', first], text: 'require does not name firewall, so this is only reported' }];
  const weight = severity.fw_policy_open ?? 'fail';
  if (rules.forbid.length > 0 && weight !== 'fail')
    return [
      {
        path: ['severity', 'fw_policy_open'],
        text: `${weight} only, so that firewall.forbid refuses nothing`,
      },
    ];
  return [];
}
