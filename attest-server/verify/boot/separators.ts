import { eventType } from '../tpm/event-types.ts';
import { extendsPcr } from '../tpm/replay.ts';
import type { BootProblem } from './boot-problem.ts';
import { bootServicesLeft, separatorDigests } from './known-digests.ts';
import { hasDigest, isVouched, problemAt, type VouchedLog } from './vouched-log.ts';

/** Where the boot passed from one owner to the next. Indices of events; null where nothing vouched for says it. */
export interface Boundaries {
  /** Before it in PCR 7 stands configuration, after it what allowed each image to run. */
  readonly secureBoot: number | null;
  /** After it the operating system runs. Its place among the events of other PCRs is the log's word. */
  readonly bootServicesLeft: number | null;
}

const firmwarePcrs = 8;
const beforeSecureBoot = 7;

/**
 * Finds the separators. Firmware extends each of PCR 0 to 7 with one before it starts code that is not its own:
 * without it, or with two, what stands before and after it cannot be told apart. A separator is known by its digest,
 * since the type is in none. PC Client PFP 1.06, section 3.3.1.
 *
 * Not judged are logs that never extend PCR 0 (those of confidential guests, whose registers are no PCRs), and PCRs 0
 * to 6 where the log has no separator in any of them: there is firmware that extends none.
 */
export function findBoundaries(vouched: VouchedLog, problems: BootProblem[]): Boundaries {
  const { raw } = vouched.log;
  const first = new Int32Array(firmwarePcrs).fill(-1);
  const extended = new Uint8Array(firmwarePcrs);
  const wrong = new Uint8Array(firmwarePcrs);
  let left: number | null = null;
  const errors: BootProblem[] = [];
  let isOfPcrs = false;
  for (let event = 0; event < raw.count; event++) {
    const pcr = raw.pcrs[event]!;
    // Attack: an event of PCR 0 left out, so that the PCR does not replay and no separator is looked for.
    if (pcr === 0 && extendsPcr(raw, event)) isOfPcrs = true;
    if (pcr >= firmwarePcrs || !isVouched(vouched, event)) continue;
    extended[pcr] = 1;
    const typed = raw.types[event] === eventType.separator;
    if (isSeparator(vouched, event)) {
      if (first[pcr]! >= 0)
        errors.push(problemAt(vouched, event, 'separator_error', 'a second separator of this PCR'));
      else first[pcr] = event;
      if (!typed)
        errors.push(
          problemAt(vouched, event, 'unverified_event', 'the log was altered: a separator has another type'),
        );
      else if (vouched.measured[event] === null)
        errors.push(
          problemAt(vouched, event, 'event_data_mismatch', 'the log was altered: a separator has other data'),
        );
    } else if (typed) {
      errors.push(wrongSeparator(vouched, event));
      wrong[pcr] = 1;
    }
    if (pcr === 5 && hasDigest(vouched, event, bootServicesLeft)) left ??= event;
  }
  if (isOfPcrs)
    problems.push(...errors, ...missing(vouched, first, (pcr) => extended[pcr] === 1 && wrong[pcr] === 0));
  const at = first[beforeSecureBoot]!;
  return { secureBoot: at < 0 ? null : at, bootServicesLeft: left };
}

/** Values of the data in PCR 1 may be zero as well: there the type has to say it too. */
function isSeparator(vouched: VouchedLog, event: number): boolean {
  const { raw } = vouched.log;
  if (raw.pcrs[event] === 1 && raw.types[event] !== eventType.separator) return false;
  return hasDigest(vouched, event, separatorDigests.zero) || hasDigest(vouched, event, separatorDigests.ones);
}

function wrongSeparator(vouched: VouchedLog, event: number): BootProblem {
  const error = hasDigest(vouched, event, separatorDigests.error);
  const text = error ? 'the separator says that the firmware failed' : 'a separator of an unknown value';
  return problemAt(vouched, event, 'separator_error', text, {
    expected: '00000000 or ffffffff',
    actual: vouched.measured[event]?.toString('hex', 0, 32) ?? 'data that was not measured',
  });
}

function missing(vouched: VouchedLog, first: Int32Array, needsOne: (pcr: number) => boolean): BootProblem[] {
  const usual = first.subarray(0, beforeSecureBoot).some((event) => event >= 0);
  const problems: BootProblem[] = [];
  for (let pcr = 0; pcr < firmwarePcrs; pcr++) {
    const judged = needsOne(pcr) && (usual || pcr === beforeSecureBoot);
    if (!judged || first[pcr]! >= 0) continue;
    const text = `PCR ${pcr} has no separator, and this is its last event`;
    problems.push(problemAt(vouched, lastOf(vouched, pcr), 'separator_error', text, missingSeparator));
  }
  return problems;
}

const missingSeparator = { expected: 'one separator', actual: 'none' } as const;

function lastOf({ log: { raw } }: VouchedLog, pcr: number): number {
  return raw.pcrs.subarray(0, raw.count).lastIndexOf(pcr);
}
