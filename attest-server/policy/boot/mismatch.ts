import type { PcrBank } from '../../protocol/messages.ts';
import type { ReasonCode } from '../../protocol/reasons.ts';
import type { MeasuredBoot, QuotedBank } from '../../verify/proven.ts';
import type { Finding } from '../finding.ts';
import { comparedMask, pcrsOf, pcrValue, type ReferenceBank } from './compared-pcrs.ts';
import { type EventDifference, firstDifference, type MeasuredEvent } from './event-diff.ts';
import { kernelArguments } from './kernel-arguments.ts';
import { type PreparedReference, sharedBank } from './reference-set.ts';
import { measuresSecureBootOff } from './secure-boot.ts';

/**
 * Names the cause why no active reference matches, by comparison with the closest: the first event that differs, or
 * the PCR where no event explains it.
 */
export function explainMismatch(
  references: readonly PreparedReference[],
  quotes: readonly QuotedBank[],
  boot: MeasuredBoot | null,
): Finding {
  const closest = closestReference(references, quotes);
  if (closest === null) return noSharedBank(references, quotes);
  const { prepared, bank, differing } = closest;
  const explained = boot === null ? [] : differing.filter((pcr) => replays(boot, pcr));
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

interface Closest {
  readonly prepared: PreparedReference;
  readonly bank: { readonly reference: ReferenceBank; readonly quoted: QuotedBank };
  readonly differing: readonly number[];
}

function closestReference(
  references: readonly PreparedReference[],
  quotes: readonly QuotedBank[],
): Closest | null {
  let closest: Closest | null = null;
  for (const prepared of references) {
    const bank = sharedBank(prepared, quotes);
    if (bank === null) continue;
    const differing = pcrsOf(comparedMask).filter((pcr) => {
      const expected = pcrValue(bank.reference, pcr);
      const actual = pcrValue(bank.quoted, pcr);
      return expected === null || actual === null ? expected !== actual : !expected.equals(actual);
    });
    if (closest === null || differing.length < closest.differing.length)
      closest = { prepared, bank, differing };
  }
  return closest;
}

/** What a log says of a PCR onto which it does not replay explains nothing. */
function replays({ problems }: MeasuredBoot, pcr: number): boolean {
  return !problems.some(
    ({ code, pcr: of }) =>
      (code === 'log_replay_mismatch' || code === 'log_incomplete') && (of === null || of === pcr),
  );
}

const found = { aspect: 'boot', source: 'tpm' } as const;

function noSharedBank(references: readonly PreparedReference[], quotes: readonly QuotedBank[]): Finding {
  const has = [...new Set(references.flatMap(({ banks }) => banks.map(({ bank }) => bank)))].join(', ');
  const given = quotes.map(({ bank }) => bank).join(', ');
  return {
    ...found,
    code: 'pcr_mismatch',
    expected: has === '' ? null : `a quote over ${has}`,
    actual: `a quote over ${given}`,
    text: `The references hold no PCR value to compare this quote with: it covers ${given}, they hold ${has || 'none'}.`,
    evidence: null,
  };
}

function byPcr({ prepared, bank, differing }: Closest, boot: MeasuredBoot | null): Finding {
  const name = prepared.reference.name;
  const pcr = differing[0] ?? null;
  const value = (of: ReferenceBank | QuotedBank) => {
    const bytes = pcr === null ? null : pcrValue(of, pcr);
    return bytes === null ? null : `PCR ${pcr} ${of.bank}:${bytes.toString('hex')}`;
  };
  const expected = value(bank.reference);
  const actual = value(bank.quoted);
  const what =
    pcr === null
      ? `The quote covers no PCR that can be compared with reference ${name}.`
      : actual === null
        ? `PCR ${pcr} is in reference ${name}, but the node did not quote it.`
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
  };
}

function byEvent(
  difference: EventDifference,
  reference: string,
  bank: PcrBank,
  boot: MeasuredBoot | null,
): Finding {
  const { pcr, expected, actual } = difference;
  const [code, component] = causeOf(difference, bank);
  const where = actual ? `event ${actual.index} in PCR ${pcr}` : `PCR ${pcr}`;
  return {
    ...found,
    code,
    expected: expected && digestOf(expected, bank),
    actual: actual && digestOf(actual, bank),
    text: `${component}: ${where} ${changeOf(difference, reference)}.`,
    evidence: boot && { digest: boot.digest, position: actual ? `event ${actual.index}` : `PCR ${pcr}` },
  };
}

/** The verb and its objects: what the event did, and what the reference has. */
function changeOf({ expected, actual }: EventDifference, reference: string): string {
  const was = expected && quoted(nameOf(expected));
  const now = actual && quoted(nameOf(actual));
  if (was === null) return `measured ${now}, which reference ${reference} does not have`;
  if (now === null) return `lacks ${was}, which reference ${reference} has`;
  if (was === now) return `measured ${now} with other content than reference ${reference} has`;
  return wordsOf(expected, actual, reference) ?? `measured ${now} where reference ${reference} has ${was}`;
}

/** Which words two command lines do not share; null where it is none, or the words are the same. */
function wordsOf(
  expected: MeasuredEvent | null,
  actual: MeasuredEvent | null,
  reference: string,
): string | null {
  const before = kernelArguments(expected?.describes ?? '')?.split(' ');
  const now = kernelArguments(actual?.describes ?? '')?.split(' ');
  if (before === undefined || now === undefined) return null;
  const more = now.filter((word) => !before.includes(word));
  const less = before.filter((word) => !now.includes(word));
  const parts = [
    more.length === 0 ? '' : `has ${quoted(more.join(' '))} more`,
    less.length === 0 ? '' : `lacks ${quoted(less.join(' '))}`,
  ].filter((part) => part !== '');
  return parts.length === 0 ? null : `${parts.join(' and ')}, compared with reference ${reference}`;
}

/** Short enough to be read; the reason's `expected` and `actual` have it whole. */
function quoted(text: string): string {
  return text.length <= 120 ? `"${text}"` : `"${text.slice(0, 119)}…"`;
}

/** The event's stage gives the code. */
function causeOf({ stage, actual }: EventDifference, bank: PcrBank): readonly [ReasonCode, string] {
  if (stage !== 'secureboot') return causes.get(stage) ?? ['pcr_mismatch', 'The boot differs'];
  return actual && measuresSecureBootOff(actual, bank)
    ? ['secureboot_off', 'Secure Boot is turned off']
    : ['secureboot_policy', 'The Secure Boot settings or keys have changed'];
}

const causes: ReadonlyMap<string, readonly [ReasonCode, string]> = new Map([
  ['firmware', ['firmware_unknown', 'The firmware has changed']],
  ['driver', ['firmware_unknown', 'A firmware driver has changed']],
  ['loader', ['bootloader_unknown', 'The boot loader or its configuration has changed']],
  ['kernel', ['kernel_unknown', 'The kernel has changed']],
  ['initrd', ['initrd_unknown', 'The initrd has changed']],
  ['cmdline', ['cmdline_policy', 'The kernel command line has changed']],
] as const);

function nameOf({ describes, type }: MeasuredEvent): string {
  return describes === '' ? type : describes;
}

function digestOf(event: MeasuredEvent, bank: PcrBank): string {
  return `${nameOf(event)} ${bank}:${event.digests[bank]}`;
}
