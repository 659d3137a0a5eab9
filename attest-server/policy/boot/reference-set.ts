import type { Reference } from '../../formats/reference.ts';
import type { PcrBank } from '../../wire/messages.ts';
import type { PcrValues } from '../../wire/pcr-values.ts';
import {
  comparedBanks,
  comparedMask,
  namedMask,
  type ReferenceBank,
  referenceBank,
  runsOf,
} from './compared-pcrs.ts';
import type { MaskName } from './named-masks.ts';
import { type PreparedComponents, prepareComponents } from './prepared-components.ts';
import type { BootRules } from './rules.ts';

/** A reference, its values prepared to be compared. */
export interface PreparedReference {
  readonly reference: Reference;
  /** Milliseconds since the epoch; infinity if it does not expire. */
  readonly expires: number;
  /** Of `pcrs`, strongest first. */
  readonly banks: readonly ReferenceBank[];
  readonly components: PreparedComponents;
  /** Nothing but `pcrs`: a boot matches where every compared PCR is as named. */
  readonly strict: boolean;
  /** Whether it is of a boot as a whole: a stage of which it says nothing was not there. */
  readonly whole: boolean;
}

/** The references that a group's boots are compared with. */
export interface ReferenceSet {
  readonly active: readonly PreparedReference[];
  readonly revoked: readonly PreparedReference[];
}

/**
 * Revocations count for the whole group, even if the policy names others.
 * @param group its name
 * @param ready prepares one, by these masks
 */
export function prepareReferences(
  group: string,
  rules: Pick<BootRules, 'references' | 'masks'>,
  references: readonly Reference[],
  ready = preparer(rules.masks),
): ReferenceSet {
  const isNamed = (reference: Reference) => isComparedBy(group, rules, reference);
  const preparedOf = (state: Reference['state'], applies: (reference: Reference) => boolean) =>
    references.filter((reference) => reference.state === state && applies(reference)).map(ready);
  return {
    // Whom it was announced to is in the announcement, whatever names the policy has.
    active: preparedOf('active', (reference) => isNamed(reference) || reference.announced !== undefined),
    revoked: preparedOf('revoked', (reference) => isNamed(reference) || reference.group === group),
  };
}

/** True if the boots of a group are compared with this reference, once it is active. */
export function isComparedBy(
  group: string,
  { references }: Pick<BootRules, 'references'>,
  reference: Reference,
): boolean {
  return references?.includes(reference.name) ?? reference.group === group;
}

/** Prepares each once, for as long as it lives: the judges of one group and of its announced changes share it. */
export function preparer(masks: readonly MaskName[]): (reference: Reference) => PreparedReference {
  const made = new Map<Reference, PreparedReference>();
  return (reference) => {
    const known = made.get(reference) ?? prepareReference(reference, masks);
    made.set(reference, known);
    return known;
  };
}

export function prepareReference(reference: Reference, masks: readonly MaskName[]): PreparedReference {
  // A capture keeps its boot's events; what was computed or written by hand has none.
  const whole = reference.events.length > 0;
  const components = prepareComponents(reference, whole, masks);
  return {
    reference,
    components,
    strict: components.all.length === 0,
    whole,
    expires: reference.expires === null ? Number.POSITIVE_INFINITY : Date.parse(reference.expires),
    banks: comparedBanks.flatMap((bank) => referenceBank(reference, bank) ?? []),
  };
}

/** A bank that reference and quotes share. */
interface SharedBank {
  readonly reference: ReferenceBank;
  readonly quoted: PcrValues;
}

/** The strongest bank that reference and quotes share, and that differs where one does; null if they share none. */
export function sharedBank({ banks }: PreparedReference, quotes: readonly PcrValues[]): SharedBank | null {
  let strongest: SharedBank | null = null;
  for (const reference of banks)
    for (const quoted of quotes) {
      if (quoted.bank !== reference.bank) continue;
      if (!bankMatches(reference, quoted)) return { reference, quoted };
      strongest ??= { reference, quoted };
    }
  return strongest;
}

/**
 * True if every PCR that the reference names is quoted with that value, and it names every compared PCR, and those
 * of add-ons that were extended. Attack: a bank that the firmware leaves alone is extended by the system itself, so that
 * it shows a good boot: each bank that both have must match.
 */
export function referenceMatches({ banks }: PreparedReference, quotes: readonly PcrValues[]): boolean {
  return everyShared(banks, quotes, bankMatches);
}

/** True if one bank shows that the boot is this one: what was revoked is not hidden by another bank. */
export function someBankMatches({ banks }: PreparedReference, quotes: readonly PcrValues[]): boolean {
  return banks.some((reference) =>
    quotes.some((quoted) => quoted.bank === reference.bank && bankMatches(reference, quoted)),
  );
}

/** True if every PCR that the reference names is quoted with that value; so it is where it names none at all. */
export function namedPcrsMatch(
  { reference, banks }: PreparedReference,
  quotes: readonly PcrValues[],
): boolean {
  return Object.keys(reference.pcrs).length === 0 || everyShared(banks, quotes, valuesMatch);
}

/** False if they share no bank. */
function everyShared(
  banks: readonly ReferenceBank[],
  quotes: readonly PcrValues[],
  matches: (reference: ReferenceBank, quoted: PcrValues) => boolean,
): boolean {
  let shared = false;
  for (const reference of banks)
    for (const quoted of quotes) {
      if (quoted.bank !== reference.bank) continue;
      if (!matches(reference, quoted)) return false;
      shared = true;
    }
  return shared;
}

function bankMatches(reference: ReferenceBank, quoted: PcrValues): boolean {
  return (
    (namedMask(quoted) & ~reference.mask) === 0 &&
    (comparedMask & ~quoted.mask) === 0 &&
    valuesMatch(reference, quoted)
  );
}

function valuesMatch(reference: ReferenceBank, { bank, mask, values }: PcrValues): boolean {
  if ((reference.mask & ~mask) !== 0) return false;
  for (const run of knownRuns(reference.mask, mask, bank)) {
    const quotedEnd = run.quoted + run.length;
    const end = run.reference + run.length;
    if (values.compare(reference.values, run.reference, end, run.quoted, quotedEnd) !== 0) return false;
  }
  return true;
}

type Runs = ReturnType<typeof runsOf>;
let last: { referenced: number; mask: number; bank: PcrBank; runs: Runs } | null = null;

/** Nodes of one server are asked for the same selection, so that the last one answers nearly always. */
function knownRuns(referenced: number, mask: number, bank: PcrBank): Runs {
  if (last === null || last.referenced !== referenced || last.mask !== mask || last.bank !== bank)
    last = { referenced, mask, bank, runs: runsOf(referenced, mask, bank) };
  return last.runs;
}
