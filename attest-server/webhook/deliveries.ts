import type { AuditReader } from '../audit/reader.ts';
import type { EncodedMessage } from '../events/message.ts';
import type { Messages } from '../events/messages.ts';
import type { AuditEntry, AuditEvent } from '../formats/audit.ts';
import type { DeliveryResult } from '../formats/webhook.ts';
import type { PostResult } from './post.ts';

export interface DeliveryParts {
  /** The audit log is the queue: every event is in it before anybody is told. */
  readonly log: Omit<AuditReader, 'onMore'>;
  readonly messages: Pick<Messages, 'isTold' | 'about'>;
  readonly post: (message: EncodedMessage) => Promise<PostResult>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly audit: (event: AuditEvent) => Promise<void>;
  readonly report: DeliveryReport;
  readonly bounds?: Partial<DeliveryBounds>;
}

export interface DeliveryReport {
  delivered(result: DeliveryResult, count: number): void;
  /** The first of a series of failed attempts. */
  failing(text: string): void;
  /** Messages arrive again. @param dropped how many events were given up meanwhile */
  works(dropped: number): void;
  fault(error: unknown, where: string): void;
}

/** An entry of the log that is still to be delivered. */
type QueuedEntry = Pick<AuditEntry, 'seq' | 'at'>;

/** Why an event was given up. */
type DropReason = 'age' | 'count' | 'rejected';

export interface DeliveryBounds {
  /** The longest queue; beyond it the oldest events are dropped. */
  readonly most: number;
  /** Milliseconds after which an event is dropped. */
  readonly keptFor: number;
  /** Milliseconds before the second attempt; doubled each time, up to `longestWait`. */
  readonly firstWait: number;
  readonly longestWait: number;
}

const usual: DeliveryBounds = {
  most: 10_000,
  keptFor: 24 * 3_600_000,
  firstWait: 1000,
  longestWait: 300_000,
};

/** Status codes that reject this one message; after `mostRejections` of them it is dropped. */
const aboutTheMessage: readonly number[] = [400, 413, 415, 422];
const mostRejections = 5;

/**
 * Delivers the entries of the audit log one after another, so those of a node arrive in order. The position is stored
 * after each delivery: a server that is killed delivers the last entry again, and loses none.
 */
export class Deliveries {
  readonly #parts: DeliveryParts;
  readonly #bounds: DeliveryBounds;
  #waiting: readonly QueuedEntry[] = [];
  #begin = 0;
  /** The log may have entries that were not read yet. */
  #isMore = true;
  #looking: Promise<void> | null = null;
  /** `seq` of the last entry that was read. */
  #seen: number;
  #written: number;
  #failures = 0;
  #rejections = 0;
  /** The next attempt waits until then, in monotonic milliseconds. */
  #notBefore = 0;
  #dropped = 0;
  #fault: string | null = null;
  #deliveredAt: number | null = null;

  private constructor(parts: DeliveryParts, position: number) {
    this.#parts = parts;
    this.#bounds = { ...usual, ...parts.bounds };
    this.#seen = position;
    this.#written = position;
  }

  /** Starts at the end of the log if there was no webhook before: earlier events are not delivered. */
  static async open(parts: DeliveryParts): Promise<Deliveries> {
    const { log } = parts;
    const before = await log.position();
    const position = before ?? (await log.head());
    const deliveries = new Deliveries(parts, position);
    if (before === null)
      // Where there is no room for it, it is written with the first delivery.
      await log.setPosition(position).catch((error: unknown) => parts.report.fault(error, 'webhook'));
    return deliveries;
  }

  get length(): number {
    return this.#waiting.length - this.#begin;
  }

  /** When the oldest waiting event happened. */
  get oldest(): number | null {
    return this.#waiting[this.#begin]?.at ?? null;
  }

  get state(): {
    readonly fault: string | null;
    readonly deliveredAt: number | null;
    readonly dropped: number;
  } {
    return { fault: this.#fault, deliveredAt: this.#deliveredAt, dropped: this.#dropped };
  }

  /** Reads new entries, even while a message is being sent. @param isMore the log has entries that were not read yet */
  look(isMore = false): Promise<void> {
    this.#isMore ||= isMore;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  /** Reads new entries, and delivers until the queue is empty or an attempt fails. */
  async turn(signal: AbortSignal): Promise<void> {
    await this.look();
    while (!signal.aborted) {
      await this.#drop();
      const next = this.#waiting[this.#begin];
      if (next === undefined) return this.#keepUp();
      if (this.#parts.monotonic() < this.#notBefore) return;
      if (!(await this.#tell(next, signal))) return;
      await this.look();
    }
  }

  async #look(): Promise<void> {
    while (this.#isMore) {
      this.#isMore = false;
      const entries = await this.#read();
      const last = entries.at(-1);
      if (last === undefined) continue;
      this.#isMore = true;
      const waiting = entries.filter(this.#parts.messages.isTold).map(({ seq, at }) => ({ seq, at }));
      this.#waiting = [...this.#waiting.slice(this.#begin), ...waiting];
      this.#begin = 0;
      this.#seen = last.seq;
      await this.#drop();
    }
  }

  async #read(): Promise<readonly AuditEntry[]> {
    try {
      return await this.#parts.log.next(this.#seen);
    } catch (error) {
      this.#isMore = true;
      throw error;
    }
  }

  /** Stores the position now and then, so that a start need not read the same entries again. */
  async #keepUp(): Promise<void> {
    if (this.#seen - this.#written >= 1000) await this.#write(this.#seen);
  }

  async #drop(): Promise<void> {
    const { most, keptFor } = this.#bounds;
    const over = this.length - most;
    if (over > 0) await this.#skip(over, 'count');
    const end = this.#parts.now() - keptFor;
    let old = 0;
    while ((this.#waiting[this.#begin + old]?.at ?? Number.POSITIVE_INFINITY) < end) old += 1;
    if (old > 0) await this.#skip(old, 'age');
  }

  async #skip(count: number, why: DropReason): Promise<void> {
    const first = this.#waiting[this.#begin];
    if (first === undefined) return;
    const isFirst = this.#dropped === 0;
    this.#dropped += count;
    this.#parts.report.delivered('dropped', count);
    await this.#done(count);
    if (!isFirst) return;
    // Once, until something arrives again: it would fill the log that it is about.
    const event: AuditEvent = {
      at: this.#parts.now(),
      actor: 'server',
      action: 'webhook.drop',
      subject: 'webhook',
      code: null,
      detail: { why, count, seq: first.seq, fault: this.#fault },
    };
    await this.#parts.audit(event).catch((error: unknown) => this.#parts.report.fault(error, 'webhook'));
  }

  /** @returns whether the next one may be delivered at once */
  async #tell({ seq }: QueuedEntry, signal: AbortSignal): Promise<boolean> {
    const { log, messages, post, report, now } = this.#parts;
    const entry = await log.entry(seq);
    const message = entry && (await messages.about(entry));
    if (message === null) {
      await this.#told(seq);
      return true;
    }
    const posted = await post(message);
    if (signal.aborted && posted.result !== 'delivered') return false;
    report.delivered(posted.result, 1);
    if (posted.result === 'delivered') {
      if (this.#failures > 0 || this.#dropped > 0) report.works(this.#dropped);
      this.#failures = 0;
      this.#rejections = 0;
      this.#dropped = 0;
      this.#fault = null;
      this.#deliveredAt = now();
      await this.#told(seq);
      return true;
    }
    if (this.#failures === 0) report.failing(posted.text);
    this.#failures += 1;
    this.#fault = posted.text;
    this.#notBefore = this.#parts.monotonic() + this.#wait(posted.retryAfter);
    if (posted.status !== null && aboutTheMessage.includes(posted.status)) this.#rejections += 1;
    if (this.#rejections >= mostRejections) {
      this.#rejections = 0;
      if (this.#waiting[this.#begin]?.seq === seq) await this.#skip(1, 'rejected');
    }
    return false;
  }

  /** Backoff in milliseconds, doubled each time, with jitter so that servers do not retry together. */
  #wait(retryAfter: number | null): number {
    const { firstWait, longestWait } = this.#bounds;
    const wait = Math.min(longestWait, firstWait * 2 ** Math.min(this.#failures - 1, 16));
    return Math.max(retryAfter ?? 0, wait * (0.5 + 0.5 * this.#parts.random()));
  }

  /** Removes the entry from the queue, unless it was dropped while it was being sent. */
  async #told(seq: number): Promise<void> {
    if (this.#waiting[this.#begin]?.seq === seq) await this.#done(1);
  }

  async #done(count: number): Promise<void> {
    this.#begin += count;
    const next = this.#waiting[this.#begin];
    await this.#write(next === undefined ? this.#seen : next.seq - 1);
  }

  /** Stores the position. If that fails, some entries are delivered again after the next start. */
  async #write(seq: number): Promise<void> {
    try {
      await this.#parts.log.setPosition(seq);
      this.#written = seq;
    } catch (error) {
      this.#parts.report.fault(error, 'webhook');
    }
  }
}
