import type { AuditEvent } from '../formats/audit.ts';
import type { DeliveryResult } from '../formats/webhook.ts';
import { messageOf, type Told } from './message.ts';
import type { Waiting, WebhookStore } from './ports.ts';
import type { Posted } from './post.ts';

export interface DeliveryParts {
  readonly store: WebhookStore;
  readonly post: (message: Told) => Promise<Posted>;
  /** Of its uid, where it is known. */
  readonly cluster: () => string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  /** From [0, 1). */
  readonly random: () => number;
  readonly audit: (event: AuditEvent) => Promise<void>;
  readonly report: DeliveryReport;
  readonly bounds?: Partial<DeliveryBounds>;
}

export interface DeliveryReport {
  delivered(result: DeliveryResult, count: number): void;
  /** The first attempt of a series that came to nothing. */
  failing(text: string): void;
  /** It arrives again. @param dropped how many nobody was told of meanwhile */
  works(dropped: number): void;
  fault(error: unknown, where: string): void;
}

/** Why somebody was not told. */
type Drop = 'age' | 'count' | 'rejected';

export interface DeliveryBounds {
  /** How many wait at most; the oldest gives way. */
  readonly most: number;
  /** Milliseconds after which nobody need know any more. */
  readonly keptFor: number;
  /** Milliseconds before the second attempt; twice as long each time, up to the longest. */
  readonly firstWait: number;
  readonly longestWait: number;
}

const usual: DeliveryBounds = {
  most: 10_000,
  keptFor: 24 * 3_600_000,
  firstWait: 1000,
  longestWait: 300_000,
};

/** Answers that speak of this one message: after so many of them the next one has its turn. */
const aboutTheMessage: readonly number[] = [400, 413, 415, 422];
const mostRejections = 5;

/**
 * Tells what the audit log says, entry by entry and one after the other: so each node's are in their order. How far it
 * got is written down after each, so that a server that was killed tells the last one again, and loses none.
 */
export class Deliveries {
  readonly #parts: DeliveryParts;
  readonly #bounds: DeliveryBounds;
  #waiting: readonly Waiting[] = [];
  #begin = 0;
  /** The last entry that was looked at. */
  #seen: number;
  #written: number;
  #failures = 0;
  #rejections = 0;
  /** By the monotonic clock. */
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

  /** Where no webhook was there before, what happened before is told to nobody. */
  static async open(parts: DeliveryParts): Promise<Deliveries> {
    const { store } = parts;
    const before = await store.position();
    const position = before ?? (await store.head());
    const deliveries = new Deliveries(parts, position);
    if (before === null)
      // Where there is no room for it, it is written with the first delivery.
      await store.setPosition(position).catch((error: unknown) => parts.report.fault(error, 'webhook'));
    return deliveries;
  }

  get length(): number {
    return this.#waiting.length - this.#begin;
  }

  /** When the oldest that waits happened. */
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

  /** Looks what happened, and tells it until nothing waits, or an attempt comes to nothing. */
  async turn(signal: AbortSignal): Promise<void> {
    await this.#look();
    while (!signal.aborted) {
      await this.#drop();
      const next = this.#waiting[this.#begin];
      if (next === undefined) return this.#keepUp();
      if (this.#parts.monotonic() < this.#notBefore) return;
      if (!(await this.#tell(next, signal))) return;
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    for (;;) {
      const { upTo, waiting } = await this.#parts.store.events(this.#seen);
      if (waiting.length > 0) {
        this.#waiting = [...this.#waiting.slice(this.#begin), ...waiting];
        this.#begin = 0;
      }
      if (upTo === this.#seen) return;
      this.#seen = upTo;
      await this.#drop();
    }
  }

  /** Nobody reads through the same entries at each start. */
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

  async #skip(count: number, why: Drop): Promise<void> {
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

  /** @returns whether the next one may be told at once */
  async #tell({ seq }: Waiting, signal: AbortSignal): Promise<boolean> {
    const { store, post, cluster, report, now } = this.#parts;
    const entry = await store.entry(seq);
    const { state } = entry?.detail ?? {};
    const transition =
      entry?.action === 'verdict' && typeof state === 'string'
        ? await store.transition(entry.subject, entry.at, state)
        : null;
    const message = entry && messageOf(entry, transition, cluster());
    if (message === null) {
      await this.#done(1);
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
      await this.#done(1);
      return true;
    }
    if (this.#failures === 0) report.failing(posted.text);
    this.#failures += 1;
    this.#fault = posted.text;
    this.#notBefore = this.#parts.monotonic() + this.#wait(posted.retryAfter);
    if (posted.status !== null && aboutTheMessage.includes(posted.status)) this.#rejections += 1;
    if (this.#rejections >= mostRejections) {
      this.#rejections = 0;
      await this.#skip(1, 'rejected');
    }
    return false;
  }

  /** Twice as long each time, and never all servers at the same moment. */
  #wait(retryAfter: number | null): number {
    const { firstWait, longestWait } = this.#bounds;
    const wait = Math.min(longestWait, firstWait * 2 ** Math.min(this.#failures - 1, 16));
    return Math.max(retryAfter ?? 0, wait * (0.5 + 0.5 * this.#parts.random()));
  }

  async #done(count: number): Promise<void> {
    this.#begin += count;
    const next = this.#waiting[this.#begin];
    await this.#write(next === undefined ? this.#seen : next.seq - 1);
  }

  /** Where it cannot be written, some are told again after the next start. */
  async #write(seq: number): Promise<void> {
    try {
      await this.#parts.store.setPosition(seq);
      this.#written = seq;
    } catch (error) {
      this.#parts.report.fault(error, 'webhook');
    }
  }
}
