import pLimit from 'p-limit';
import type { EntryReader } from '../audit/reader.ts';
import type { AuditEntry } from '../formats/audit.ts';
import { storageCauseOf } from '../formats/server-fault.ts';
import { type EncodedMessage, idOf } from './message.ts';
import type { Messages } from './messages.ts';

/** An entry of the log as listeners get it. */
export interface FeedEntry {
  /** A listener that sends it is told what came after. */
  readonly id: string;
  readonly entry: AuditEntry;
  /** Null if the entry is no event. */
  readonly message: EncodedMessage | null;
}

export interface Listener {
  /** Takes the next entry of the log. @returns false: it wants no other until it is ready */
  take(entry: FeedEntry): boolean;
  /** Resolves once it takes entries again, or wants no more. */
  ready(): Promise<void>;
  /** Aborted when it wants no more. */
  readonly signal: AbortSignal;
  /** It gets no more, since the log cannot be read. */
  failed(error: unknown): void;
}

export interface FeedParts {
  readonly log: EntryReader;
  readonly messages: Pick<Messages, 'isTold' | 'about'>;
  readonly fault: (error: unknown, where: string) => void;
}

/** How many listeners that catch up read the log at a time. */
const catchingUp = 2;
/** Milliseconds until a log that could not be read is read again. */
const readAgain = 1000;

/** Tells listeners what is appended to the audit log. It is read once for all that keep up; the others read at their own pace. */
export class EventFeed implements AsyncDisposable {
  readonly #parts: FeedParts;
  /** Those that keep up, with the `seq` of the last entry that each has. */
  readonly #listeners = new Map<Listener, number>();
  readonly #catchUp = pLimit(catchingUp);
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #stop: () => void;
  /** `seq` of the last entry that the listeners have. */
  #seen = 0;
  #isMore = false;
  #isLooking = false;
  #again: NodeJS.Timeout | undefined;

  constructor(parts: FeedParts) {
    this.#parts = parts;
    this.#stop = parts.log.onMore(() => this.#look());
  }

  /** `seq` of the entry that an id, or a number, names; null if the log has another one there, or none. */
  async find(id: string): Promise<number | null> {
    const [, digits = ''] = /^(?:evt_)?(\d{1,15})(?:_[0-9a-f]{16})?$/.exec(id) ?? [];
    const seq = Number(digits);
    if (digits === '' || (seq === 0 && id !== '0')) return null;
    if (seq === 0) return 0;
    const entry = await this.#parts.log.entry(seq);
    return entry !== null && (id === digits || id === idOf(entry)) ? seq : null;
  }

  /** `seq` of the latest entry; 0 before the first. */
  head(): Promise<number> {
    return this.#parts.log.head();
  }

  /**
   * Gives the listener all entries after this one, and then each new one.
   * @param isLive false: only those that there are now
   * @returns once it has those that there were @throws what reading the log does
   */
  async follow(after: number, listener: Listener, isLive: boolean): Promise<void> {
    let at = after;
    for (;;) {
      const entries = await this.#catchUp(() => this.#track(this.#parts.log.next(at)));
      for (const entry of entries) {
        // One by one: whoever stalls holds no messages that are made and wait.
        const each = await this.#track(this.#made(entry));
        if (listener.signal.aborted) return;
        at = entry.seq;
        if (!listener.take(each)) await listener.ready();
      }
      if (listener.signal.aborted) return;
      if (entries.length === 0 && (!isLive || this.#join(at, listener))) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    this.#listeners.clear();
    await Promise.allSettled(this.#underWay);
    clearTimeout(this.#again);
  }

  /** @returns false if the others are ahead of it */
  #join(at: number, listener: Listener): boolean {
    if (this.#listeners.size === 0) this.#seen = at;
    if (at < this.#seen) return false;
    this.#listeners.set(listener, at);
    this.#look();
    return true;
  }

  #look(): void {
    this.#isMore = true;
    if (this.#isLooking) return;
    for (const listener of this.#listeners.keys())
      if (listener.signal.aborted) this.#listeners.delete(listener);
    if (this.#listeners.size === 0) return;
    this.#isLooking = true;
    this.#tell().then(
      () => {
        this.#isLooking = false;
        if (this.#isMore) this.#look();
      },
      (error: unknown) => {
        this.#isLooking = false;
        // Why nothing can be read is said elsewhere; it goes on by itself.
        if (storageCauseOf(error) === null) this.#parts.fault(error, 'events');
        this.#again = setTimeout(() => this.#look(), readAgain).unref();
      },
    );
  }

  async #tell(): Promise<void> {
    while (this.#isMore && this.#listeners.size > 0) {
      this.#isMore = false;
      const after = this.#seen;
      const entries = await this.#track(this.#read(after));
      const last = entries.at(-1);
      // Others than those for whom it was read may listen meanwhile.
      this.#isMore ||= last !== undefined || this.#seen !== after;
      if (last === undefined || this.#seen !== after) continue;
      this.#seen = last.entry.seq;
      for (const [listener, at] of this.#listeners) this.#give(listener, at, entries);
    }
  }

  #give(listener: Listener, at: number, entries: readonly FeedEntry[]): void {
    for (const each of entries) {
      const { seq } = each.entry;
      if (seq <= at) continue;
      this.#listeners.set(listener, seq);
      if (listener.take(each)) continue;
      this.#listeners.delete(listener);
      listener
        .ready()
        .then(() => this.follow(seq, listener, true))
        .catch(listener.failed);
      return;
    }
  }

  async #read(after: number): Promise<readonly FeedEntry[]> {
    const read: FeedEntry[] = [];
    for (const entry of await this.#parts.log.next(after)) read.push(await this.#made(entry));
    return read;
  }

  async #made(entry: AuditEntry): Promise<FeedEntry> {
    return { id: idOf(entry), entry, message: await this.#parts.messages.about(entry) };
  }

  /** Nothing is read any more once this is disposed of. */
  #track<T>(reading: Promise<T>): Promise<T> {
    this.#underWay.add(reading);
    const done = () => this.#underWay.delete(reading);
    reading.then(done, done);
    return reading;
  }
}
