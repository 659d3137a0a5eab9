import type { BootState } from './boot/boot-state.ts';
import { bootState } from './boot/derive-boot-state.ts';
import type { FileSet } from './boot/loader-files.ts';
import type { HashedPart } from './hashed-part.ts';
import { type ParsedLog, parseEventLog } from './tpm/event-log.ts';
import { parseUserSpaceLog, type UserSpaceLog } from './tpm/user-space-log.ts';
import type { VouchedPcrs } from './vouched-pcrs.ts';

/** A machine has one until it boots again, and another one while it boots. */
const mostStates = 2;
/** The size of an event: where it lies, and what it was in each state. */
const eventBytes = 512;

/**
 * Logs of firmware and user space as they were read from their bytes. It proves nothing: what it is worth is for each quote to say
 * that it is compared with.
 */
export class BootReading {
  /** SHA-256 of the firmware's log, hex. */
  readonly digest: string;
  readonly log: ParsedLog;
  readonly userSpace: UserSpaceLog | null;
  /** Its size in bytes. */
  readonly size: number;
  readonly #states = new Map<string, BootState>();

  private constructor(log: HashedPart, userSpace: HashedPart | null) {
    this.digest = log.digest;
    this.log = parseEventLog(log.bytes);
    this.userSpace = userSpace === null ? null : parseUserSpaceLog(userSpace.bytes);
    const bytes = log.bytes.length + (userSpace?.bytes.length ?? 0);
    this.size = bytes + this.log.raw.count * eventBytes;
  }

  /** @throws Rejection `malformed`, `too_large` */
  static of(log: HashedPart, userSpace: HashedPart | null): BootReading {
    return new BootReading(log, userSpace);
  }

  /** The boot, as far as this is vouched for. @param isWhole whether no further file may be known the next time */
  state(vouched: VouchedPcrs, files: FileSet, isWhole: boolean): BootState {
    const { banks, pcrs, userSpace } = vouched;
    const key = `${banks.join()} ${pcrs} ${userSpace.map(({ index }) => index).join()} ${files.digest}`;
    const state = this.#states.get(key) ?? bootState(this.log, vouched, files);
    // The one that was asked for last stays longest.
    this.#states.delete(key);
    if (isWhole) this.#states.set(key, state);
    const [oldest] = this.#states.keys();
    if (oldest !== undefined && this.#states.size > mostStates) this.#states.delete(oldest);
    return state;
  }

  /** Whether this is one of its states, so that whoever keeps it keeps nothing more. */
  remembers(state: BootState): boolean {
    return this.#states.values().some((one) => one === state);
  }
}
