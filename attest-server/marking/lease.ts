import { type Clock, ClusterError, type ClusterLease, type ClusterWriter } from './ports.ts';

export interface LeaseParts extends Pick<Clock, 'now' | 'monotonic'> {
  readonly writer: Pick<ClusterWriter, 'readLease' | 'writeLease'>;
  /** Who this process is: another one has another name, also on a copy of its state folder. */
  readonly holder: string;
  /** Milliseconds between two renewals. */
  readonly renewEvery: number;
  /** Called when it becomes ours, or is lost. */
  readonly changed: (isHeld: boolean, by: string | null) => void;
  /** Called with the reason if it could be neither read nor written. */
  readonly failed: (error: ClusterError) => void;
}

/** Seconds for which a server that says nothing more keeps it. */
const durationSeconds = 30;
/** Milliseconds between two renewals. */
export const renewEvery = 10_000;
/** Milliseconds between two tries while they fail: the RetryPeriod of client-go's leader election. */
const retryEvery = 2000;
/** A lease of a hundred years would end all marking: a holder that says nothing for this long loses it. */
const longestSeconds = 600;
/** Without an answer for so long it counts as lost here, before another server may take it. */
const surely = 20_000;

/**
 * The lease by which one server marks. Two servers by mistake would mark against each other: the one that finds it held
 * waits until its holder has said nothing for its duration, by a clock of this process.
 */
export class Lease {
  readonly #parts: LeaseParts;
  #seen: ClusterLease | null = null;
  /** When the lease of another one last moved. */
  #movedAt = Number.NEGATIVE_INFINITY;
  #renewedAt = Number.NEGATIVE_INFINITY;
  #dueAt = Number.NEGATIVE_INFINITY;
  /** The try that is under way. */
  #renewal: Promise<void> | null = null;
  #wasHeld = false;

  constructor(parts: LeaseParts) {
    this.#parts = parts;
  }

  isHeld(): boolean {
    return this.#parts.monotonic() - this.#renewedAt < surely;
  }

  /** Who has it, as far as is known; null: nobody. One that was ours and was not renewed is nobody's. */
  holder(): string | null {
    const { holder } = this.#parts;
    if (this.isHeld()) return holder;
    const seen = this.#seen?.holder ?? null;
    return seen === holder ? null : seen;
  }

  /** Whether it is time to renew it. */
  isDue(): boolean {
    return this.#renewal === null && this.#parts.monotonic() >= this.#dueAt;
  }

  /** Takes or renews it if it may; once at a time. Never rejects. */
  renew(): Promise<void> {
    this.#renewal ??= this.#tried().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #tried(): Promise<void> {
    const { monotonic, renewEvery, failed } = this.#parts;
    const asked = monotonic();
    this.#dueAt = asked + renewEvery;
    try {
      await this.#renew(asked);
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      // Another one was quicker: what it wrote is read next time.
      if (error.reason === 'conflict') return;
      this.#dueAt = asked + Math.min(retryEvery, renewEvery);
      failed(error);
    } finally {
      this.reportChange();
    }
  }

  /** Reports whether it is held, if that has changed. */
  reportChange(): void {
    const isHeld = this.isHeld();
    if (isHeld === this.#wasHeld) return;
    this.#wasHeld = isHeld;
    this.#parts.changed(isHeld, this.holder());
  }

  async #renew(asked: number): Promise<void> {
    const { writer, holder, now } = this.#parts;
    const found = await writer.readLease();
    const isOurs = found?.holder === holder;
    if (found !== null && found.holder !== null && !isOurs) {
      const isSame = this.#seen?.holder === found.holder && this.#seen.renewedAt === found.renewedAt;
      if (!isSame) this.#movedAt = asked;
      this.#seen = found;
      this.#renewedAt = Number.NEGATIVE_INFINITY;
      if (asked - this.#movedAt < Math.min(found.durationSeconds, longestSeconds) * 1000) return;
    }
    const at = microseconds(now());
    this.#seen = await writer.writeLease({
      holder,
      durationSeconds,
      renewedAt: at,
      acquiredAt: isOurs ? (found.acquiredAt ?? at) : at,
      transitions: (found?.transitions ?? 0) + (isOurs || found === null ? 0 : 1),
      resourceVersion: found?.resourceVersion ?? null,
    });
    // From before the request: the answer may have taken long.
    this.#renewedAt = asked;
  }

  /** Gives it back, so that the next server need not wait. A renewal under way would take it again. */
  async release(): Promise<void> {
    await this.#renewal;
    if (!this.isHeld()) return;
    this.#renewedAt = Number.NEGATIVE_INFINITY;
    const { writer, holder } = this.#parts;
    try {
      const found = await writer.readLease();
      if (found?.holder === holder) await writer.writeLease({ ...found, holder: null });
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      this.#parts.failed(error);
    }
  }
}

/** `metav1.MicroTime`. */
function microseconds(at: number): string {
  return new Date(at).toISOString().replace('Z', '000Z');
}
