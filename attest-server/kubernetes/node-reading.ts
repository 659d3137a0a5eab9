import { LRUCache } from 'lru-cache';
import { atMost } from '../wire/at-most.ts';
import { ByteBudget, type ByteRate } from '../wire/byte-budget.ts';

const second = 1 / 86_400;
const rate = (burst: number, perSecond: number): ByteRate => ({ burst, aDay: perSecond / second });
/**
 * Bytes of one Node's events that are read at once: a Node has 10 to 60 KiB, and is written every ten seconds at most.
 * A MiB takes some 30 ms of the server's one thread.
 */
const usual = rate(512 * 1024, 8 * 1024);
/** Rates beyond that, of one Node and of all. */
const ofOne = rate(4 * 1024 * 1024, 64 * 1024);
const ofAll = rate(32 * 1024 * 1024, 2 * 1024 * 1024);

/** How many Nodes have shares that are remembered. */
const mostNodes = 65_536;
/** Milliseconds between two looks whose turn it is, and after a read that failed. */
const lookEvery = 250;
const retryAfter = 10_000;

export interface NodeReadingParts {
  /** Reads the Node as it is now. */
  readonly read: (name: string) => Promise<void>;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
}

/**
 * When the Nodes of a watch are read. Attack: a kubelet makes its Node as long as the API takes, and writes it again and again, so
 * that to read it takes all of the server's time. Nodes that are over their share are read later, as they are then, each once.
 */
export class NodeReading {
  readonly #parts: NodeReadingParts;
  readonly #usual = new LRUCache<string, ByteBudget>(atMost(mostNodes));
  readonly #more = new LRUCache<string, ByteBudget>(atMost(mostNodes));
  readonly #all: ByteBudget;
  /** Nodes that wait for their turn: how long their text was, and when it may be read at the earliest. */
  readonly #waiting = new Map<string, { readonly length: number; readonly from: number }>();
  #timer: NodeJS.Timeout | null = null;

  constructor(parts: NodeReadingParts) {
    this.#parts = parts;
    this.#all = new ByteBudget(ofAll, parts.monotonic());
  }

  /** Whether an event is read at once; else its Node is read in its turn. @param length of its text */
  mayRead(name: string, length: number): boolean {
    const at = this.#parts.monotonic();
    const own = budgetIn(this.#usual, name, usual, at);
    if (own.holds(length, at)) {
      own.take(length);
      return true;
    }
    if (this.#takeMore(name, length, at)) return true;
    this.#waiting.set(name, { length, from: this.#waiting.get(name)?.from ?? at });
    this.#look();
    return false;
  }

  /** The Node was read, or is gone: it no longer waits. */
  forget(name: string): void {
    this.#waiting.delete(name);
  }

  /** Whether the Node was read by nobody since its turn began. */
  isWaiting(name: string): boolean {
    return this.#waiting.has(name);
  }

  close(): void {
    this.#waiting.clear();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #takeMore(name: string, length: number, at: number): boolean {
    const budgets = [budgetIn(this.#more, name, ofOne, at), this.#all];
    if (!budgets.every((budget) => budget.holds(length, at))) return false;
    for (const budget of budgets) budget.take(length);
    return true;
  }

  #look(): void {
    this.#timer ??= setTimeout(async () => {
      await this.#readNext();
      this.#timer = null;
      if (this.#waiting.size > 0) this.#look();
    }, lookEvery).unref();
  }

  /** One at a time: who came first of those that may. */
  async #readNext(): Promise<void> {
    const at = this.#parts.monotonic();
    for (const [name, { length, from }] of this.#waiting) {
      // One that is longer than all that it may have at once is read once it has that.
      if (at < from || !this.#takeMore(name, Math.min(length, ofOne.burst), at)) continue;
      try {
        await this.#parts.read(name);
        this.#waiting.delete(name);
      } catch {
        this.#waiting.set(name, { length, from: at + retryAfter });
      }
      return;
    }
  }
}

function budgetIn(
  budgets: LRUCache<string, ByteBudget>,
  name: string,
  share: ByteRate,
  at: number,
): ByteBudget {
  const known = budgets.get(name);
  if (known !== undefined) return known;
  const budget = new ByteBudget(share, at);
  budgets.set(name, budget);
  return budget;
}

/** Beginning of a line of a watch. */
export interface EventHead {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly name: string;
  readonly resourceVersion: string;
}

/** In the order in which the API writes an object: kind and version, then its name, and what it numbers by itself. */
const head =
  /^\{"type":"(ADDED|MODIFIED|DELETED)","object":\{(?:"(?:kind|apiVersion)":"[A-Za-z0-9]+",){0,2}"metadata":\{"name":"([a-z0-9.-]{1,253})",(?:"[A-Za-z]+":"[^"\\]{0,253}",)*?"resourceVersion":"([^"\\]{1,64})"/;

/** Null if it begins otherwise: then the line is to be read as a whole. */
export function eventHead(line: string): EventHead | null {
  const [, type, name, resourceVersion] = head.exec(line.slice(0, 4096)) ?? [];
  if (name === undefined || resourceVersion === undefined) return null;
  return { type: type === 'ADDED' || type === 'DELETED' ? type : 'MODIFIED', name, resourceVersion };
}
