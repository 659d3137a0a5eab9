import { eventType, eventTypeName } from '../tpm/event-types.ts';
import { extendsPcr } from '../tpm/replay.ts';
import type { BootProblem, ProblemCollector } from './boot-problem.ts';
import { bootServicesLeft, separatorDigests } from './known-digests.ts';
import { digestSieve, hasDigest, isVouched, problemAt, type VouchedLog } from './vouched-log.ts';

/** Where the boot passed from one owner to the next. Indices of events; null if nothing vouched for says it. */
export interface Boundaries {
  /** Before it in PCR 7 stands configuration, after it what allowed each image to run. */
  readonly secureBoot: number | null;
  /** After it the operating system runs. Its place among the events of other PCRs is the log's word. */
  readonly bootServicesLeft: number | null;
}

const firmwarePcrs = 8;
const secureBootPcr = 7;

/**
 * Finds the separators, with one of which firmware ends each of PCR 0 to 7 before it starts code that is not its own. Only
 * that of PCR 7 is a boundary of facts: it is known by its digest, since the type is in none, and the first one counts.
 * In the other PCRs a separator is what is typed so, since other things have the digest of four zero bytes as well.
 * PC Client PFP 1.06, section 3.3.1.
 *
 * Not judged are logs that never extend PCR 0 (those of confidential guests, whose registers are no PCRs), and PCRs 0
 * to 6 where the log has no separator in any of them: there is firmware that extends none.
 */
export function findBoundaries(vouched: VouchedLog, { problems, notes }: ProblemCollector): Boundaries {
  const { raw } = vouched.log;
  const seen = new SeenSeparators();
  const maySeparate = digestSieve(vouched, Object.values(separatorDigests));
  const noticed: ProblemCollector = { problems: [], notes: [] };
  const again: number[] = [];
  let left: number | null = null;
  let isOfPcrs = false;
  for (let event = 0; event < raw.count; event++) {
    const pcr = raw.pcrs[event]!;
    // Attack: an event of PCR 0 left out, so that the PCR does not replay and no separator is looked for.
    if (pcr === 0 && extendsPcr(raw, event)) isOfPcrs = true;
    if (pcr >= firmwarePcrs || !isVouched(vouched, event)) continue;
    seen.extended[pcr] = 1;
    const typed = raw.types[event] === eventType.separator;
    if (maySeparate(event) && separates(vouched, event)) {
      const counts = seen.add(event, pcr, typed);
      if (counts === 'again') again.push(event);
      checkWords(vouched, event, counts === 'no', noticed);
    } else if (typed) {
      noticed.problems.push(wrongSeparator(vouched, event));
      seen.wrong[pcr] = 1;
    }
    if (pcr === 5 && hasDigest(vouched, event, bootServicesLeft)) left ??= event;
  }
  if (isOfPcrs) {
    for (const event of again) checkSecond(vouched, event, seen, noticed);
    problems.push(...noticed.problems, ...missing(vouched, seen));
    notes.push(...noticed.notes);
  }
  const at = seen.first[secureBootPcr]!;
  return { secureBoot: at < 0 ? null : at, bootServicesLeft: left };
}

class SeenSeparators {
  /** By PCR, 1 where it is extended, and where it has a separator of an unknown value. */
  readonly extended = new Uint8Array(firmwarePcrs);
  readonly wrong = new Uint8Array(firmwarePcrs);
  /** By PCR, the event; -1 where there is none. */
  readonly first = new Int32Array(firmwarePcrs).fill(-1);
  /** By PCR, how many events have the digest of a separator, whatever they are called. */
  readonly #digests = new Uint32Array(firmwarePcrs);

  /** `no`: the digest of a separator in an event that is none. */
  add(event: number, pcr: number, typed: boolean): 'first' | 'again' | 'no' {
    this.#digests[pcr] = this.#digests[pcr]! + 1;
    if (!typed && pcr !== secureBootPcr) return 'no';
    if (this.first[pcr]! >= 0) return 'again';
    this.first[pcr] = event;
    return 'first';
  }

  /** Firmware whose first boot option failed separates all of its PCRs again. */
  allAgain(): boolean {
    const times = this.#digests[secureBootPcr]!;
    return this.#digests.every((count, pcr) => this.extended[pcr] === 0 || count >= times);
  }
}

/** A separator by its digest, and in all PCRs but 7 by its type too. */
export function isSeparator(vouched: VouchedLog, event: number): boolean {
  const { raw } = vouched.log;
  const pcr = raw.pcrs[event]!;
  if (pcr >= firmwarePcrs) return false;
  return (raw.types[event] === eventType.separator || pcr === secureBootPcr) && separates(vouched, event);
}

function separates(vouched: VouchedLog, event: number): boolean {
  return (
    hasDigest(vouched, event, separatorDigests.zero) ||
    hasDigest(vouched, event, separatorDigests.ones) ||
    (vouched.log.raw.types[event] === eventType.separator &&
      hasDigest(vouched, event, separatorDigests.oneByte))
  );
}

/**
 * The log's words for a separator. Attack: the boundary of PCR 7 hidden by another type or other data. OpenPOWER's separators,
 * which nobody else has of ones, are actions of these bytes first, and then name who measured them.
 */
function checkWords(
  vouched: VouchedLog,
  event: number,
  isNone: boolean,
  { problems, notes }: ProblemCollector,
): void {
  const { raw } = vouched.log;
  const typed = raw.types[event] === eventType.separator;
  const isSaid = vouched.measured[event] !== null;
  const isBoundary = raw.pcrs[event] === secureBootPcr && !hasDigest(vouched, event, separatorDigests.ones);
  if (!typed) {
    const type = eventTypeName(raw.types[event]!);
    if (isNone)
      notes.push({ event, code: 'not_a_separator', text: `${type} with the digest of a separator` });
    else if (isBoundary || !isSaid)
      problems.push(
        problemAt(vouched, event, 'unverified_event', 'the log was altered: a separator has another type'),
      );
    else notes.push({ event, code: 'retyped_separator', text: `a separator that the log calls ${type}` });
  } else if (!isSaid && isBoundary)
    problems.push(
      problemAt(vouched, event, 'event_data_mismatch', 'the log was altered: a separator has other data'),
    );
  else if (!isSaid)
    notes.push({ event, code: 'other_data', text: 'a separator, whose data says something else' });
}

/** Attack: a separator put into PCR 7 alone, by whoever came after the firmware. It moves no boundary all the same. */
function checkSecond(
  vouched: VouchedLog,
  event: number,
  seen: SeenSeparators,
  noticed: ProblemCollector,
): void {
  if (vouched.log.raw.pcrs[event] !== secureBootPcr || seen.allAgain())
    noticed.notes.push({
      event,
      code: 'second_separator',
      text: 'separated again, as firmware does for its next boot option',
    });
  else
    noticed.problems.push(
      problemAt(vouched, event, 'separator_error', 'a second separator of PCR 7, and of no other PCR'),
    );
}

function wrongSeparator(vouched: VouchedLog, event: number): BootProblem {
  const error = hasDigest(vouched, event, separatorDigests.error);
  const text = error ? 'the separator says that the firmware failed' : 'a separator of an unknown value';
  return problemAt(vouched, event, 'separator_error', text, {
    expected: '00000000 or ffffffff',
    actual: vouched.measured[event]?.toString('hex', 0, 32) ?? 'data that was not measured',
  });
}

function missing(vouched: VouchedLog, { extended, wrong, first }: SeenSeparators): BootProblem[] {
  const usual = first.subarray(0, secureBootPcr).some((event) => event >= 0);
  const problems: BootProblem[] = [];
  for (let pcr = 0; pcr < firmwarePcrs; pcr++) {
    if (extended[pcr] === 0 || wrong[pcr] === 1 || first[pcr]! >= 0) continue;
    if (!usual && pcr !== secureBootPcr) continue;
    const text = `PCR ${pcr} has no separator, and this is its last event`;
    problems.push(problemAt(vouched, lastOf(vouched, pcr), 'separator_error', text, missingSeparator));
  }
  return problems;
}

const missingSeparator = { expected: 'one separator', actual: 'none' } as const;

function lastOf({ log: { raw } }: VouchedLog, pcr: number): number {
  return raw.pcrs.subarray(0, raw.count).lastIndexOf(pcr);
}
