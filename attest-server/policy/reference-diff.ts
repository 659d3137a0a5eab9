import type { Reference } from '../formats/reference.ts';
import type { Proven } from '../verify/proven.ts';
import type { PcrBank } from '../wire/messages.ts';
import { pcrBanks } from '../wire/messages.ts';
import { pcrsOf, pcrValue } from '../wire/pcr-values.ts';
import { allDifferences, type EventDifference, type MeasuredEvent } from './boot/event-diff.ts';
import { judgedPcrs } from './boot/judged-stage.ts';

export interface PcrDifference {
  readonly bank: PcrBank;
  readonly pcr: number;
  /** Hex; null if the side has no value. */
  readonly expected: string | null;
  readonly actual: string | null;
}

export interface ReferenceDifference {
  readonly pcrs: readonly PcrDifference[];
  /** Events that only one side has, in log order. */
  readonly events: readonly EventDifference[];
}

type Pcrs = Readonly<Partial<Record<PcrBank, Readonly<Record<string, string>> | undefined>>>;
interface ReferenceSide {
  readonly pcrs: Pcrs;
  readonly events: readonly MeasuredEvent[];
}

/**
 * The differences between a reference and another, or a proven boot: PCR values that both sides have, and events of the PCRs
 * that differ, or of all that are judged if one side names no values.
 */
export function diffReferences(
  expected: Reference,
  actual: Reference | Pick<Proven, 'banks' | 'boot'>,
): ReferenceDifference {
  const other: ReferenceSide =
    'banks' in actual
      ? { pcrs: quotedPcrs(actual), events: (actual.boot?.log.events ?? []).map(summaryOf) }
      : actual;
  const theirs = 'banks' in actual ? other.pcrs : valuesOf(actual);
  const pcrs = [
    ...pcrBanks.flatMap((bank) => differingPcrs(bank, valuesOf(expected)[bank], theirs[bank])),
    ...pcrBanks.flatMap((bank) => differingPcrs(bank, expected.pcrs[bank], other.pcrs[bank])),
  ];
  const bank = pcrs.at(-1)?.bank ?? sharedBank(expected.events, other.events);
  if (bank === null) return { pcrs, events: [] };
  const known = pcrBanks.some((one) => expected.pcrs[one] !== undefined && other.pcrs[one] !== undefined);
  const numbers = known
    ? pcrs.filter((difference) => difference.bank === bank).map(({ pcr }) => pcr)
    : [...judgedPcrs];
  return { pcrs, events: allDifferences(expected.events, other.events, numbers, bank) };
}

/** The strongest bank that both logs carry. */
function sharedBank(expected: readonly MeasuredEvent[], actual: readonly MeasuredEvent[]): PcrBank | null {
  const carries = (events: readonly MeasuredEvent[], bank: PcrBank) =>
    events.some(({ digests }) => digests[bank] !== undefined);
  return pcrBanks.findLast((bank) => carries(expected, bank) && carries(actual, bank)) ?? null;
}

/** PCRs that a policy compares by value (`boot.byValue`). */
function valuesOf({ components }: Reference): Pcrs {
  const values: Partial<Record<PcrBank, Record<string, string>>> = {};
  for (const { kind, pcr, digests } of components)
    if (kind === 'value' && pcr !== undefined)
      for (const bank of pcrBanks) {
        const digest = digests[bank];
        if (digest !== undefined) values[bank] = { ...values[bank], [pcr]: digest };
      }
  return values;
}

/** As a reference keeps an event. */
function summaryOf({ index, pcr, type, digests, stage, describes }: MeasuredEvent): MeasuredEvent {
  return { index, pcr, type, digests, stage, describes };
}

function quotedPcrs({ banks }: Pick<Proven, 'banks'>): Pcrs {
  return Object.fromEntries(
    banks.map((quoted) => [
      quoted.bank,
      Object.fromEntries(
        pcrsOf(quoted.mask).map((pcr) => [String(pcr), pcrValue(quoted, pcr)?.toString('hex') ?? '']),
      ),
    ]),
  );
}

function differingPcrs(
  bank: PcrBank,
  expected: Readonly<Record<string, string>> | undefined,
  actual: Readonly<Record<string, string>> | undefined,
): PcrDifference[] {
  if (expected === undefined || actual === undefined) return [];
  return Object.keys(expected)
    .map(Number)
    .sort((a, b) => a - b)
    .map((pcr) => ({ bank, pcr, expected: expected[pcr] ?? null, actual: actual[pcr] ?? null }))
    .filter((difference) => difference.expected !== difference.actual);
}
