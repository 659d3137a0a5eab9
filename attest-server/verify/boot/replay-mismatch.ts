import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../../wire/messages.ts';
import type { ParsedLog } from '../tpm/event-log.ts';
import { extendsPcr } from '../tpm/replay.ts';
import type { BootProblem } from './boot-problem.ts';
import { bootServicesLeft, bootServicesLeftText, digestsOf, separatorDigests } from './known-digests.ts';
import type { KnownDigest } from './vouched-log.ts';

/** More events than this of one PCR are not tried without each of them: the sender chooses how many there are. */
const mostTriedWithout = 128;

const leaving = digestsOf(Buffer.from('Exit Boot Services Invocation'));

/** Digests that firmware measures on every machine towards the end of a boot. */
const usualEnds: readonly (readonly [what: string, digests: readonly KnownDigest[]])[] = [
  ['a separator', [separatorDigests.zero]],
  ['that the firmware leaves', [leaving]],
  ['that the firmware has left', [bootServicesLeft]],
  ['that the firmware leaves and has left', [leaving, bootServicesLeft]],
];

/**
 * Says after which event a log cannot be replayed onto the quoted value of a PCR: an event too many, a tail that was
 * cut off, or something changed, which no hash can tell from the rest.
 * @param quoted the value of this PCR in this bank, which the whole log does not give
 */
export function replayMismatch(
  log: ParsedLog,
  bank: PcrBank,
  pcr: number,
  replayed: Buffer,
  quoted: Buffer,
): BootProblem {
  const { event, text } = explanation(new PcrHistory(log, bank, pcr), quoted.toString('latin1'));
  return {
    code: 'log_replay_mismatch',
    pcr,
    event,
    expected: replayed.toString('hex'),
    actual: quoted.toString('hex'),
    text: `the log does not replay to the quoted value of PCR ${pcr} (${bank}): ${text}`,
  };
}

interface Explanation {
  readonly event: number;
  readonly text: string;
}

function explanation(history: PcrHistory, quoted: string): Explanation {
  const { events } = history;
  const first = events[0] ?? 0;
  const last = events.at(-1) ?? 0;
  const prefix = history.values.indexOf(quoted);
  const next = events[prefix];
  if (prefix >= 0 && next !== undefined)
    return { event: next, text: `the TPM does not have event ${next}, nor those of this PCR after it` };
  const ends = usualEnds.find(([, digests]) => history.continued(digests) === quoted);
  if (ends !== undefined)
    return { event: last, text: `after event ${last}, its last, the log lacks ${ends[0]}` };
  const extra = events.length > mostTriedWithout ? -1 : history.without(quoted);
  const added = events[extra];
  if (added !== undefined) return { event: added, text: `the TPM does not have event ${added}` };
  if (!history.handedOver)
    return {
      event: last,
      text: `the log ends early, and the TPM was extended after event ${last}, its last`,
    };
  return {
    event: first,
    text: `something was extended that is in no log, or one of the ${events.length} events of this PCR, from event ${first} on, was changed or moved`,
  };
}

/** A PCR's values under one log, one byte a character: as crypto.hash gives and takes them soonest. */
class PcrHistory {
  /** Indices of the events that extend it. */
  readonly events: readonly number[];
  /** `values[i]` is the one before event i of these; the last one is what the log ends with. */
  readonly values: readonly string[];
  /** The log goes on until the firmware has left, so that it was not simply cut off. */
  readonly handedOver: boolean;
  readonly #digests: readonly string[];
  readonly #bank: PcrBank;

  constructor({ bytes, raw, initialValue }: ParsedLog, bank: PcrBank, pcr: number) {
    const size = bankBytes[bank];
    const events: number[] = [];
    const digests: string[] = [];
    for (let event = 0; event < raw.count; event++) {
      const at = raw.digestOffsets[bank]?.[event] ?? 0;
      if (raw.pcrs[event] !== pcr || at === 0 || !extendsPcr(raw, event)) continue;
      events.push(event);
      digests.push(bytes.toString('latin1', at, at + size));
    }
    const start = Buffer.alloc(size);
    if (pcr === 0) start[size - 1] = initialValue;
    const values = [start.toString('latin1')];
    this.events = events;
    this.values = values;
    this.handedOver = bytes.includes(bootServicesLeftText);
    this.#digests = digests;
    this.#bank = bank;
    for (const digest of digests) values.push(this.#extend(values.at(-1) ?? '', digest));
  }

  /** The value after more events than the log has. */
  continued(digests: readonly KnownDigest[]): string {
    const bank = this.#bank;
    return digests.reduce(
      (value, known) => this.#extend(value, known[bank]?.toString('latin1') ?? ''),
      this.values.at(-1) ?? '',
    );
  }

  /** Position of the one event without which the log gives this value; -1 where there is none. */
  without(wanted: string): number {
    return this.events.findIndex((_, left) => {
      const after = this.#digests.slice(left + 1);
      return after.reduce((value, digest) => this.#extend(value, digest), this.values[left] ?? '') === wanted;
    });
  }

  #extend(value: string, digest: string): string {
    return hash(this.#bank, Buffer.from(value + digest, 'latin1'), 'latin1');
  }
}
