import type { PcrBank } from '../../protocol/messages.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { QuotedBank } from '../../verify/proven.ts';
import type { PolicyGroup } from '../policy.ts';
import { comparedBanks, comparedMask, type ReferenceBank, referenceBank, runsOf } from './compared-pcrs.ts';

/** A reference, its values made ready to be compared. */
export interface PreparedReference {
  readonly reference: Reference;
  /** Milliseconds since the epoch; infinity where it does not expire. */
  readonly expires: number;
  /** Strongest first. */
  readonly banks: readonly ReferenceBank[];
}

/** The references that a group's boots are compared with. */
export interface ReferenceSet {
  readonly active: readonly PreparedReference[];
  readonly revoked: readonly PreparedReference[];
}

export function prepareReferences(group: PolicyGroup, references: readonly Reference[]): ReferenceSet {
  const named = references.filter((reference) =>
    group.boot.references ? group.boot.references.includes(reference.name) : reference.group === group.name,
  );
  const prepared = (state: Reference['state']) =>
    named.filter((reference) => reference.state === state).map(prepareReference);
  return { active: prepared('active'), revoked: prepared('revoked') };
}

function prepareReference(reference: Reference): PreparedReference {
  return {
    reference,
    expires: reference.expires === null ? Number.POSITIVE_INFINITY : Date.parse(reference.expires),
    banks: comparedBanks.flatMap((bank) => referenceBank(reference, bank) ?? []),
  };
}

/** The strongest bank that reference and quotes share; null where they share none. */
export function sharedBank(
  { banks }: PreparedReference,
  quoted: readonly QuotedBank[],
): { readonly reference: ReferenceBank; readonly quoted: QuotedBank } | null {
  for (const reference of banks)
    for (const candidate of quoted)
      if (candidate.bank === reference.bank) return { reference, quoted: candidate };
  return null;
}

/** True where the quoted compared PCRs are exactly those that the reference names, each with its value. */
export function referenceMatches(prepared: PreparedReference, quotes: readonly QuotedBank[]): boolean {
  for (const reference of prepared.banks)
    for (const quoted of quotes) if (quoted.bank === reference.bank) return bankMatches(reference, quoted);
  return false;
}

function bankMatches(reference: ReferenceBank, { bank, mask, values }: QuotedBank): boolean {
  if ((mask & comparedMask) !== reference.mask) return false;
  for (const run of knownRuns(mask, bank)) {
    const quotedEnd = run.quoted + run.length;
    const end = run.reference + run.length;
    if (values.compare(reference.values, run.reference, end, run.quoted, quotedEnd) !== 0) return false;
  }
  return true;
}

type Runs = ReturnType<typeof runsOf>;
let last: { mask: number; bank: PcrBank; runs: Runs } | null = null;

/** Nodes of one server are asked for the same selection, so that the last one answers nearly always. */
function knownRuns(mask: number, bank: PcrBank): Runs {
  if (last === null || last.mask !== mask || last.bank !== bank)
    last = { mask, bank, runs: runsOf(mask, bank) };
  return last.runs;
}
