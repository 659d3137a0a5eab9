import type { PcrBank } from '../../wire/messages.ts';
import { kernelArguments } from './kernel-arguments.ts';

/** The members that an event of a log and one of a reference share. */
export interface MeasuredEvent {
  readonly index: number;
  readonly pcr: number;
  readonly type: string;
  readonly digests: Readonly<Partial<Record<PcrBank, string | undefined>>>;
  readonly stage: string;
  readonly describes: string;
}

/** Where two boots part. */
export interface EventDifference {
  readonly pcr: number;
  readonly stage: string;
  /** Index of the event in the actual log; in the reference where the actual log lacks it. */
  readonly index: number;
  readonly expected: MeasuredEvent | null;
  readonly actual: MeasuredEvent | null;
}

/**
 * The event that explains why `pcrs` differ, in log order: the first one that differs in what was run or
 * enforced. What merely announces or wraps it (GRUB's script and files, a unified image around its kernel, the
 * image's name in a command line) differs earlier in the log, and counts only where nothing else does.
 * Null if the events of these PCRs are the same.
 */
export function firstDifference(
  reference: readonly MeasuredEvent[],
  actual: readonly MeasuredEvent[],
  pcrs: readonly number[],
  bank: PcrBank,
): EventDifference | null {
  const all = allDifferences(reference, actual, pcrs, bank);
  const wrappers = new Set([...wrapping(reference), ...wrapping(actual)]);
  const kernelDiffers = all.some((one) => isKernelItself(one, wrappers));
  return all.find((one) => isCause(one, wrappers, kernelDiffers)) ?? all[0] ?? null;
}

/** Every event that only one of the two boots has, in log order; the first is not yet the cause. */
export function allDifferences(
  reference: readonly MeasuredEvent[],
  actual: readonly MeasuredEvent[],
  pcrs: readonly number[],
  bank: PcrBank,
): EventDifference[] {
  return pcrs
    .flatMap((pcr) => pcrDifferences(ofPcr(reference, pcr, bank), ofPcr(actual, pcr, bank), pcr, bank))
    .sort((a, b) => a.index - b.index);
}

function ofPcr(events: readonly MeasuredEvent[], pcr: number, bank: PcrBank): MeasuredEvent[] {
  return events.filter(
    (event) => event.pcr === pcr && event.type !== 'EV_NO_ACTION' && event.digests[bank] !== undefined,
  );
}

/**
 * Events that only one of the two has, paired by stage in their order: an inserted line must not make all
 * that follow it look changed.
 */
function pcrDifferences(
  reference: readonly MeasuredEvent[],
  actual: readonly MeasuredEvent[],
  pcr: number,
  bank: PcrBank,
): EventDifference[] {
  const same = reference.length === actual.length;
  if (same && reference.every((event, i) => event.digests[bank] === actual[i]?.digests[bank])) return [];
  const missing = without(reference, actual, bank);
  const found = without(actual, reference, bank);
  if (missing.length === 0 && found.length === 0) return [reordered(reference, actual, pcr, bank)];
  const differences: EventDifference[] = [];
  for (const event of found) {
    const at = missing.findIndex(({ stage, type }) => stage === event.stage && type === event.type);
    const expected = at < 0 ? null : (missing.splice(at, 1)[0] ?? null);
    differences.push({ pcr, stage: event.stage, index: event.index, expected, actual: event });
  }
  for (const event of missing)
    differences.push({ pcr, stage: event.stage, index: event.index, expected: event, actual: null });
  return differences;
}

/** The events of `events` that `others` lacks; each of `others` stands for one. */
function without(
  events: readonly MeasuredEvent[],
  others: readonly MeasuredEvent[],
  bank: PcrBank,
): MeasuredEvent[] {
  const counts = new Map<string | undefined, number>();
  for (const { digests } of others) counts.set(digests[bank], (counts.get(digests[bank]) ?? 0) + 1);
  return events.filter(({ digests }) => {
    const left = counts.get(digests[bank]) ?? 0;
    counts.set(digests[bank], left - 1);
    return left <= 0;
  });
}

function reordered(
  reference: readonly MeasuredEvent[],
  actual: readonly MeasuredEvent[],
  pcr: number,
  bank: PcrBank,
): EventDifference {
  const at = actual.findIndex((event, i) => event.digests[bank] !== reference[i]?.digests[bank]);
  const found = actual[at] ?? null;
  const expected = reference[at] ?? null;
  return { pcr, stage: found?.stage ?? 'other', index: found?.index ?? 0, expected, actual: found };
}

/** Kernel images out of a file that start another kernel image: the unified image around it. */
function wrapping(events: readonly MeasuredEvent[]): MeasuredEvent[] {
  const images = events.filter(
    ({ type, stage }) => stage === 'kernel' && type === 'EV_EFI_BOOT_SERVICES_APPLICATION',
  );
  return images.slice(0, -1).filter(({ describes }) => describes.includes('\\'));
}

function isKernelItself({ stage, expected, actual }: EventDifference, wrappers: Set<MeasuredEvent>): boolean {
  const wraps = [expected, actual].some((event) => event !== null && wrappers.has(event));
  return stage === 'kernel' && !wraps;
}

function isCause(difference: EventDifference, wrappers: Set<MeasuredEvent>, kernelDiffers: boolean): boolean {
  const { stage, expected, actual } = difference;
  if (stage === 'kernel') return isKernelItself(difference, wrappers);
  if (stage === 'loader') return (actual ?? expected)?.type !== 'EV_IPL';
  if (stage === 'cmdline' && kernelDiffers) return !sameArguments(expected, actual);
  return true;
}

/** True if two command lines differ in the kernel image's name alone, as far as they are kept. */
function sameArguments(expected: MeasuredEvent | null, actual: MeasuredEvent | null): boolean {
  const before = kernelArguments(expected?.describes ?? '');
  const after = kernelArguments(actual?.describes ?? '');
  if (before === null || after === null) return false;
  if (!before.endsWith('…') || !after.endsWith('…')) return before === after;
  const kept = Math.min(before.length, after.length) - 1;
  return before.slice(0, kept) === after.slice(0, kept);
}
