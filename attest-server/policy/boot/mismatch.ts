import type { ReplayedBoot } from '../../verify/measured-boot.ts';
import type { PcrBank } from '../../wire/messages.ts';
import { type PcrValues, pcrsOf, pcrValue } from '../../wire/pcr-values.ts';
import type { Finding } from '../finding.ts';
import { comparedMask, namedMask, type ReferenceBank } from './compared-pcrs.ts';
import { type EventDifference, firstDifference, type MeasuredEvent } from './event-diff.ts';
import { type Cause, judgedStage, secureBootOff, stageCauses } from './judged-stage.ts';
import { type PreparedReference, sharedBank } from './reference-set.ts';
import { replays } from './replays.ts';
import { measuresSecureBootOff } from './secure-boot.ts';
import { changeOf, nameOf } from './sentence.ts';

type LoggedBoot = Pick<ReplayedBoot, 'digest' | 'log' | 'problems'>;

/**
 * Names the cause why no active reference matches, by comparison with the closest: the first event that differs, or
 * the PCR where no event explains it.
 */
export function explainMismatch(
  references: readonly PreparedReference[],
  quotes: readonly PcrValues[],
  boot: LoggedBoot | null,
): Finding {
  const closest = closestReference(references, quotes);
  if (closest === null) return noSharedBank(references, quotes);
  const { prepared, bank, differing } = closest;
  const explained = boot === null ? [] : differing.filter((pcr) => replays(boot.problems, pcr));
  const events = prepared.reference.events;
  // Without recorded events every event would seem to be new.
  const difference =
    boot === null || events.length === 0
      ? null
      : firstDifference(events, boot.log.events, explained, bank.quoted.bank);
  return difference === null
    ? byPcr(closest, boot)
    : byEvent(difference, prepared.reference.name, bank.quoted.bank, boot);
}

interface ClosestReference {
  readonly prepared: PreparedReference;
  readonly bank: { readonly reference: ReferenceBank; readonly quoted: PcrValues };
  readonly differing: readonly number[];
}

function closestReference(
  references: readonly PreparedReference[],
  quotes: readonly PcrValues[],
): ClosestReference | null {
  let closest: ClosestReference | null = null;
  for (const prepared of references) {
    const bank = sharedBank(prepared, quotes);
    if (bank === null) continue;
    const differing = pcrsOf(comparedMask | namedMask(bank.quoted) | bank.reference.mask).filter((pcr) => {
      const expected = pcrValue(bank.reference, pcr);
      const actual = pcrValue(bank.quoted, pcr);
      return expected === null || actual === null || !expected.equals(actual);
    });
    if (closest === null || differing.length < closest.differing.length)
      closest = { prepared, bank, differing };
  }
  return closest;
}

const found = { aspect: 'boot', source: 'tpm' } as const;

function noSharedBank(references: readonly PreparedReference[], quotes: readonly PcrValues[]): Finding {
  const has = [
    ...new Set(
      references.flatMap(({ banks, components }) => [...banks.map(({ bank }) => bank), ...components.banks]),
    ),
  ].join(', ');
  const given = quotes.map(({ bank }) => bank).join(', ');
  return {
    ...found,
    code: 'pcr_mismatch',
    expected: has === '' ? null : `a quote over ${has}`,
    actual: `a quote over ${given}`,
    text: `The references contain nothing to compare this quote with: the quote covers ${given}, the references contain ${has || 'none'}.`,
    evidence: null,
  };
}

function byPcr({ prepared, bank, differing }: ClosestReference, boot: LoggedBoot | null): Finding {
  const name = prepared.reference.name;
  const pcr = differing[0] ?? null;
  const value = (of: ReferenceBank | PcrValues) => {
    const bytes = pcr === null ? null : pcrValue(of, pcr);
    return bytes === null ? null : `PCR ${pcr} ${of.bank}:${bytes.toString('hex')}`;
  };
  const expected = value(bank.reference);
  const actual = value(bank.quoted);
  const what =
    pcr === null
      ? `The quote covers no PCR that can be compared with reference ${name}.`
      : actual === null
        ? `The node did not quote PCR ${pcr}, so reference ${name} cannot be compared.`
        : expected === null
          ? `PCR ${pcr} was quoted, but reference ${name} has no value for it.`
          : `PCR ${pcr} differs from reference ${name}, and no event of the boot log explains it.`;
  const more = differing.slice(1);
  return {
    ...found,
    code: 'pcr_mismatch',
    expected,
    actual,
    text: more.length === 0 ? what : `${what} PCRs ${more.join(', ')} differ as well.`,
    evidence: boot === null || pcr === null ? null : { digest: boot.digest, position: `PCR ${pcr}` },
    reference: name,
  };
}

function byEvent(
  difference: EventDifference,
  reference: string,
  bank: PcrBank,
  boot: LoggedBoot | null,
): Finding {
  const { pcr, expected, actual } = difference;
  const [code, component] = causeOf(difference, bank);
  const where = actual ? `event ${actual.index} in PCR ${pcr}` : `PCR ${pcr}`;
  return {
    ...found,
    code,
    expected: expected && digestOf(expected, bank),
    actual: actual && digestOf(actual, bank),
    text: `${component}: ${where} ${changeOf(expected, actual, reference)}.`,
    evidence: boot && { digest: boot.digest, position: actual ? `event ${actual.index}` : `PCR ${pcr}` },
    reference,
  };
}

/** The event's stage gives the code. */
function causeOf({ stage, actual }: EventDifference, bank: PcrBank): Cause {
  if (stage === 'secureboot' && actual && measuresSecureBootOff(actual, bank)) return secureBootOff;
  return stageCauses[judgedStage(stage, null)];
}

function digestOf(event: MeasuredEvent, bank: PcrBank): string {
  return `${nameOf(event)} ${bank}:${event.digests[bank]}`;
}
