import { hash } from 'node:crypto';
import { capDigest, capPcr } from '../wire/cap.ts';
import { bankBytes, type PcrBank } from '../wire/messages.ts';
import { type PcrValues, pcrValue } from '../wire/pcr-values.ts';
import type { ParsedLog } from './tpm/event-log.ts';
import { extendsPcr } from './tpm/replay.ts';
import type { UserSpaceEvent, UserSpaceLog } from './tpm/user-space-log.ts';

/**
 * Whether a boot has given up its right to disk keys, by one bank's PCR 15: `open` if the logs lead to its value without the
 * cap, `capped` if they do with it. `unexplained` is neither, and never to be taken for open.
 */
export type CapState = 'open' | 'capped' | 'unexplained';

export interface BankCap {
  readonly state: CapState;
  /** PCR 15 before it was capped: what references have. Null unless it is capped. */
  readonly before: Buffer | null;
  /** The events of user space that led to the quoted value, in the log's order. */
  readonly userSpace: readonly UserSpaceEvent[];
}

/** By quoted bank. */
export type BootCap = ReadonlyMap<PcrBank, BankCap>;

/** Whoever caps a boot may fail behind that, and do it again. */
const mostCaps = 4;
/** Hashes to find the place of the cap in one bank: it may stand anywhere among some 60 events, and near the end of more. */
const mostTried = 8192;

/** Reads from logs and quoted values whether the boot is capped. @param log of the firmware; null if none was sent */
export function readCap(
  log: ParsedLog | null,
  banks: readonly PcrValues[],
  userSpace: UserSpaceLog | null,
): BootCap {
  return new Map(banks.map((quoted) => [quoted.bank, bankCap(log, quoted, userSpace)]));
}

function bankCap(log: ParsedLog | null, quoted: PcrValues, userSpace: UserSpaceLog | null): BankCap {
  const value = pcrValue(quoted, capPcr);
  if (value === null) return unexplained;
  const { bank } = quoted;
  const firmware = log === null ? [] : firmwareDigests(log, bank);
  if (firmware.length === 0 && value.every((byte) => byte === 0)) return untouched;
  const after = (userSpace?.events ?? []).filter(({ pcr, digests }) => pcr === capPcr && digests[bank]);
  const digests = [
    ...firmware,
    ...after.map((event) => binary(Buffer.from(event.digests[bank] ?? '', 'hex'))),
  ];
  return new Pcr15(bank, digests, firmware.length).explain(binary(value), after);
}

const untouched: BankCap = { state: 'open', before: null, userSpace: [] };
const unexplained: BankCap = { state: 'unexplained', before: null, userSpace: [] };

/** The digests of the firmware's events. */
function firmwareDigests(log: ParsedLog, bank: PcrBank): readonly string[] {
  const digests: string[] = [];
  // Nearly all firmware leaves it alone.
  if ((((log.replay(bank)?.extended ?? 0) >>> capPcr) & 1) === 0) return digests;
  const { bytes, raw } = log;
  for (let event = 0; event < raw.count; event++) {
    const at = raw.digestOffsets[bank]?.[event] ?? 0;
    if (raw.pcrs[event] === capPcr && at !== 0 && extendsPcr(raw, event))
      digests.push(bytes.toString('latin1', at, at + bankBytes[bank]));
  }
  return digests;
}

/** PCR 15 of one bank under its logs. Values and digests are text of one byte a character, as crypto.hash takes and gives them soonest. */
class Pcr15 {
  readonly #bank: PcrBank;
  readonly #digests: readonly string[];
  /** The firmware's log is there as a whole; that of user space is read after the quote, and may go on. */
  readonly #least: number;
  readonly #cap: string;
  /** `values[i]` is the one before event i; the last one is what the logs end with. */
  readonly #values: readonly string[];
  #tried = 0;

  constructor(bank: PcrBank, digests: readonly string[], least: number) {
    this.#bank = bank;
    this.#digests = digests;
    this.#least = least;
    this.#cap = binary(capDigest(bank));
    const values = ['\0'.repeat(bankBytes[bank])];
    for (const digest of digests) values.push(this.#extend(values.at(-1) ?? '', digest));
    this.#values = values;
  }

  explain(quoted: string, userSpace: readonly UserSpaceEvent[]): BankCap {
    const led = (events: number) => userSpace.slice(0, events - this.#least);
    const plain = this.#values.indexOf(quoted, this.#least);
    if (plain >= 0) {
      // Attack: whoever writes the log puts the cap into it as an event, so that a capped boot looks open.
      const at = this.#digests.indexOf(this.#cap);
      return at < 0 || at >= plain
        ? { state: 'open', before: null, userSpace: led(plain) }
        : this.#capped(at, led(plain));
    }
    for (let caps = 1; caps <= mostCaps; caps++)
      for (let at = this.#digests.length; at >= 0 && this.#tried < mostTried; at--) {
        const events = this.#eventsWith(caps, at, quoted);
        if (events !== null) return this.#capped(at, led(events));
      }
    return unexplained;
  }

  #capped(at: number, userSpace: readonly UserSpaceEvent[]): BankCap {
    return { state: 'capped', before: Buffer.from(this.#values[at] ?? '', 'latin1'), userSpace };
  }

  /** How many events lead to this value if the boot is capped before the event `at`; null if none do. */
  #eventsWith(caps: number, at: number, quoted: string): number | null {
    let value = this.#values[at] ?? '';
    for (let cap = 0; cap < caps; cap++) value = this.#extend(value, this.#cap);
    if (value === quoted && at >= this.#least) return at;
    for (let event = at; event < this.#digests.length; event++) {
      value = this.#extend(value, this.#digests[event] ?? '');
      if (value === quoted && event + 1 >= this.#least) return event + 1;
    }
    return null;
  }

  #extend(value: string, digest: string): string {
    this.#tried += 1;
    return hash(this.#bank, Buffer.from(value + digest, 'latin1'), 'latin1');
  }
}

function binary(bytes: Buffer): string {
  return bytes.toString('latin1');
}
