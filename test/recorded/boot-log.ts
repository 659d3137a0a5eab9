import { CaptureError } from '../../attest-server/policy/capture-error.ts';
import type { BootProblem } from '../../attest-server/verify/boot/boot-problem.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { type EventLog, parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import type { LogNote } from '../../attest-server/verify/tpm/log-notes.ts';
import { bankBytes, type PcrBank } from '../../attest-server/wire/messages.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';
import type { NodeState, Reason } from '../../attest-server/wire/verdict.ts';
import { madeProof, replayedValues } from '../attest-server/policy/made-proof.ts';
import { captured, judgedAlone } from './judged-folder.ts';

/** PCR values as the machine had them, hex, by bank and number. */
export type MachinePcrs = Readonly<Partial<Record<PcrBank, Readonly<Record<number, string>>>>>;

/** What becomes of a machine of which only its firmware log is known. */
export interface TriedBoot {
  readonly format: EventLog['format'];
  readonly banks: readonly string[];
  readonly events: number;
  /** The bank that is judged: the first of SHA-256, SHA-384, SHA-512 that the log extends; SHA-1 where it has no other. */
  readonly bank: PcrBank;
  /** PCRs that do not replay onto the machine's values; null: no value is known. */
  readonly unexplained: readonly number[] | null;
  readonly problems: readonly BootProblem[];
  readonly notes: readonly LogNote[];
  /** Why capture refuses it; null: it is taken. */
  readonly refused: string | null;
  /** Of the same boot, once it is the reference; null where there is none. */
  readonly state: NodeState | null;
  readonly reasons: readonly Reason[];
}

/**
 * Tries a recorded log as one that a node sent: parses, replays and captures it, and judges the same boot by the policy
 * `strict` with that reference, for the aspect `boot` alone.
 * @param pcrs the machine's own values; without one, a PCR holds what the log replays to
 * @throws Rejection where the log cannot be read
 */
export function tryBootLog(log: Buffer, pcrs: MachinePcrs = {}): TriedBoot {
  const { format, banks, events, notes } = parseEventLog(log);
  const bank = strongBanks.find((one) => Object.keys(banks[one] ?? {}).length > 0) ?? 'sha1';
  const values = valuesOf(log, bank, pcrs[bank] ?? {});
  const boot = replayBoot(hashPart(log), [{ bank, mask: 0xffffff, values }]);
  return {
    format,
    banks: Object.keys(banks),
    events: events.length,
    bank,
    unexplained: unexplained(banks[bank] ?? {}, pcrs[bank]),
    problems: boot.problems,
    notes: [...notes, ...boot.state.notes],
    ...capturedAndJudged(log, bank, values),
  };
}

const strongBanks: readonly PcrBank[] = ['sha256', 'sha384', 'sha512'];

function valuesOf(log: Buffer, bank: PcrBank, known: Readonly<Record<number, string>>): Buffer {
  const values = replayedValues(log, bank);
  for (const [pcr, value] of Object.entries(known))
    if (Number(pcr) < 24) values.write(value, Number(pcr) * bankBytes[bank], 'hex');
  return values;
}

function unexplained(
  replayed: Readonly<Record<number, string>>,
  known: Readonly<Record<number, string>> | undefined,
): readonly number[] | null {
  const compared = Object.keys(replayed)
    .map(Number)
    .filter((pcr) => known?.[pcr] !== undefined);
  return compared.length === 0 ? null : compared.filter((pcr) => known?.[pcr] !== replayed[pcr]);
}

/** As a server would take it, which takes no SHA-1 alone. */
function capturedAndJudged(
  log: Buffer,
  bank: PcrBank,
  values: Buffer,
): Pick<TriedBoot, 'refused' | 'state' | 'reasons'> {
  try {
    const proven = madeProof({ log, bank, values });
    return { refused: null, ...judgedAlone('boot', proven, captured('boot', proven)) };
  } catch (cause) {
    if (!(cause instanceof CaptureError) && !(cause instanceof Rejection)) throw cause;
    return { refused: cause.message, state: null, reasons: [] };
  }
}
