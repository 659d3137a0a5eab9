import { type UploadTurn, UploadTurns } from './upload-turns.ts';

export interface QueueOptions {
  /** Images that are sent at a time. */
  readonly atOnce: number;
  /** Milliseconds within which the node that has a turn must send something; then the next one gets it. */
  readonly patience: number;
  /** Milliseconds for which a node is thought to be there after it was heard of. */
  readonly aliveFor: number;
  /** Monotonic milliseconds. */
  monotonic(): number;
  /** It is this node's turn. */
  called(node: string): void;
}

/** State of an image for one node. */
export type UploadState =
  /** It is to send this image. @param since when its turn began */
  | { readonly is: 'sending'; readonly since: number }
  /** Another node sends the same image. */
  | { readonly is: 'shared'; readonly by: string }
  /** @param place from 1 */
  | { readonly is: 'waiting'; readonly place: number; readonly of: number }
  /** It could not be had of this node, which is left alone for so many milliseconds. */
  | { readonly is: 'failed'; readonly why: string; readonly again: number };

interface WaitingNode {
  seenAt: number;
  failures: number;
  /** Why it is left alone, and until when. */
  problem: { readonly why: string; readonly until: number } | null;
  /** It had its turn and was not heard of: it has none until it is. */
  isSilent: boolean;
}

interface Image {
  readonly waiting: Map<string, WaitingNode>;
  sender: ImageSender | null;
}

interface ImageSender {
  readonly node: string;
  readonly timer: NodeJS.Timeout;
  since: number;
  /** Bytes that came since. */
  bytes: number;
}

/** An image that nobody sends, and the node that can send it now. */
interface QueuedImage {
  readonly digest: string;
  readonly image: Image;
  readonly node: string;
  readonly rank: number;
}

/** Milliseconds until a node that failed is asked again; each time in a row twice as many. */
const firstPause = 60_000;
const longestPause = 3_600_000;

/**
 * Who sends which image when: few at a time over all nodes, in the order in which they came to wait. Those who gave up
 * a turn wait behind all others; but one of two or more places is theirs, so that a slow line gets through some day,
 * whoever else comes.
 */
export class ImageQueue {
  readonly #options: QueueOptions;
  /** By digest; whoever waits for longest comes first. */
  readonly #images = new Map<string, Image>();
  /** By node, the images that it waits for: thousands of nodes may wait, and most answers are of those that do not. */
  readonly #wanted = new Map<string, readonly string[]>();
  /** By node, the image that it is to send. */
  readonly #turns = new Map<string, string>();
  readonly #limits = new UploadTurns();

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** The node was heard of, and has these images to send, and no others. */
  waits(node: string, digests: readonly string[]): void {
    const before = this.#wanted.get(node) ?? digests;
    if (before.length + digests.length === 0) return;
    for (const digest of before) if (!digests.includes(digest)) this.#leave(node, digest);
    if (digests.length === 0) this.#wanted.delete(node);
    else this.#wanted.set(node, digests);
    const now = this.#options.monotonic();
    for (const digest of digests) {
      const image = this.#images.get(digest) ?? { waiting: new Map(), sender: null };
      this.#images.set(digest, image);
      const waiting = image.waiting.get(node);
      if (waiting === undefined)
        image.waiting.set(node, { seenAt: now, failures: 0, problem: null, isSilent: false });
      else {
        waiting.seenAt = now;
        waiting.isSilent = false;
      }
    }
    this.#assign();
  }

  /** Null if the node does not wait for this image. */
  standing(node: string, digest: string): UploadState | null {
    const image = this.#images.get(digest);
    const waiting = image?.waiting.get(node);
    if (image === undefined || waiting === undefined) return null;
    if (image.sender?.node === node) return { is: 'sending', since: image.sender.since };
    const { problem } = waiting;
    const left = (problem?.until ?? 0) - this.#options.monotonic();
    if (problem !== null && left > 0) return { is: 'failed', why: problem.why, again: left };
    if (image.sender !== null) return { is: 'shared', by: image.sender.node };
    let [place, of] = [1, 1];
    const rank = this.#limits.rank(this.#ready(image) ?? node);
    let isBefore = true;
    for (const [each, other] of this.#images) {
      if (each === digest) isBefore = false;
      const ready = other.sender === null && each !== digest ? this.#ready(other) : null;
      if (ready === null) continue;
      of += 1;
      const its = this.#limits.rank(ready);
      if (its < rank || (its === rank && isBefore)) place += 1;
    }
    return { is: 'waiting', place, of };
  }

  /** Images that wait or are being sent. */
  get length(): number {
    return this.#images.size;
  }

  /** The image that it is this node's turn to send. */
  turnOf(node: string): string | null {
    return this.#turns.get(node) ?? null;
  }

  isSent(digest: string): boolean {
    return this.#images.get(digest)?.sender != null;
  }

  /** So much of its image came from the node whose turn it is. */
  moved(digest: string, bytes: number): void {
    const image = this.#images.get(digest);
    const sender = image?.sender;
    if (image === undefined || sender == null) return;
    sender.timer.refresh();
    sender.bytes += bytes;
    const rank = this.#limits.rank(sender.node);
    const waiting = this.#standsInTheWayOf(image, sender);
    // Attack: a node that sends a byte at a time, and keeps others from it, also those that booted the same image.
    if (waiting === null || !this.#limits.isOver(this.#turnOf(sender), Math.min(rank, waiting))) return;
    this.#limits.gaveUp(sender.node);
    // Those who are slow in the order in which they became so.
    this.#turns.delete(sender.node);
    this.#turns.set(sender.node, digest);
    if (this.#standsInTheWayOf(image, sender) !== null) this.#giveUp(digest);
    // It has the place of the slow ones now, for which nobody waits.
    else [sender.since, sender.bytes] = [this.#options.monotonic(), 0];
  }

  failed(node: string, digest: string, why: string): void {
    const image = this.#images.get(digest);
    const waiting = image?.waiting.get(node);
    if (image === undefined || waiting === undefined) return;
    const pause = Math.min(longestPause, firstPause * 2 ** waiting.failures);
    waiting.failures += 1;
    waiting.problem = { why, until: this.#options.monotonic() + pause };
    if (image.sender?.node !== node) return;
    this.#limits.ended(node, this.#turnOf(image.sender));
    this.#giveUp(digest);
  }

  /** It is here: nobody waits for it any more. */
  done(digest: string): void {
    const image = this.#images.get(digest);
    if (image === undefined) return;
    const sender = image.sender?.node;
    this.#endTurn(image);
    this.#images.delete(digest);
    if (sender !== undefined) this.#goBehind(sender);
    this.#assign();
  }

  /** It is no node any more, or another one. */
  forget(node: string): void {
    this.waits(node, []);
    this.#limits.forget(node);
  }

  close(): void {
    for (const image of this.#images.values()) this.#endTurn(image);
    this.#images.clear();
    this.#wanted.clear();
  }

  #leave(node: string, digest: string): void {
    const image = this.#images.get(digest);
    if (image === undefined) return;
    if (image.sender?.node === node) {
      this.#limits.ended(node, this.#turnOf(image.sender));
      this.#endTurn(image);
    }
    image.waiting.delete(node);
    if (image.waiting.size === 0) this.#images.delete(digest);
  }

  #endTurn(image: Image): void {
    if (image.sender === null) return;
    clearTimeout(image.sender.timer);
    this.#turns.delete(image.sender.node);
    image.sender = null;
  }

  #assign(): void {
    while (this.#turns.size < this.#options.atOnce) {
      const next = this.#next();
      if (next === null) return;
      const { digest, image, node } = next;
      const timer = setTimeout(() => this.#silent(digest), this.#options.patience).unref();
      image.sender = { node, since: this.#options.monotonic(), bytes: 0, timer };
      this.#turns.set(node, digest);
      this.#options.called(node);
    }
  }

  #next(): QueuedImage | null {
    const [quick, slow] = [this.#first(0, 0), this.#first(1)];
    const slowOnes = this.#slowSenders().length;
    const isTheirs = this.#hasSlowPlace && slowOnes === 0 && this.#turns.size >= this.#options.atOnce - 1;
    return isTheirs ? (slow ?? quick) : (quick ?? slow);
  }

  /** The first one in the order: of the lowest rank, and of these the one that waits for longest. */
  #first(from: number, to = Number.POSITIVE_INFINITY): QueuedImage | null {
    let first: QueuedImage | null = null;
    for (const [digest, image] of this.#images) {
      if (image.sender !== null) continue;
      const node = this.#ready(image);
      const rank = node === null ? -1 : this.#limits.rank(node);
      if (node === null || rank < from || rank > to || rank >= (first?.rank ?? to + 1)) continue;
      first = { digest, image, node, rank };
      if (rank === from) break;
    }
    return first;
  }

  get #hasSlowPlace(): boolean {
    return this.#options.atOnce > 1;
  }

  #slowSenders(): readonly string[] {
    return [...this.#turns.keys()].filter((node) => this.#limits.rank(node) > 0);
  }

  #turnOf({ since, bytes }: ImageSender): UploadTurn {
    return { lasted: this.#options.monotonic() - since, bytes };
  }

  /**
   * The lowest rank of those who wait for the image, or for its sender's place; null if nobody does. The one sender who has the place of
   * the slow ones stands in the way of slow ones alone.
   */
  #standsInTheWayOf(image: Image, { node }: ImageSender): number | null {
    const ready = this.#ready(image);
    const isSlow = this.#hasSlowPlace && this.#slowSenders()[0] === node;
    const first = this.#first(isSlow ? 1 : 0);
    const ranks = [
      ...(ready === null ? [] : [this.#limits.rank(ready)]),
      ...(first === null ? [] : [first.rank]),
    ];
    return ranks.length === 0 ? null : Math.min(...ranks);
  }

  /** The node that can send it now: of the lowest rank, and of these the one that waits for longest. */
  #ready({ waiting }: Image): string | null {
    const now = this.#options.monotonic();
    let [first, lowest]: [string | null, number] = [null, Number.POSITIVE_INFINITY];
    for (const [node, { seenAt, problem, isSilent }] of waiting) {
      const isThere = !isSilent && now - seenAt <= this.#options.aliveFor;
      if (!isThere || now < (problem?.until ?? 0) || this.turnOf(node) !== null) continue;
      const rank = this.#limits.rank(node);
      if (rank === 0) return node;
      if (rank < lowest) [first, lowest] = [node, rank];
    }
    return first;
  }

  #silent(digest: string): void {
    const image = this.#images.get(digest);
    const sender = image?.sender;
    const waiting = image?.waiting.get(sender?.node ?? '');
    if (image === undefined || sender == null || waiting === undefined) return;
    waiting.isSilent = true;
    if (this.#standsInTheWayOf(image, sender) !== null) this.#limits.gaveUp(sender.node);
    this.#giveUp(digest);
  }

  /** The image, and all that the node has that had its turn, wait behind all others. */
  #giveUp(digest: string): void {
    const image = this.#images.get(digest);
    const node = image?.sender?.node;
    if (image === undefined || node === undefined) return;
    this.#endTurn(image);
    this.#images.delete(digest);
    this.#images.set(digest, image);
    this.#goBehind(node);
    this.#assign();
  }

  /** Attack: a node has one turn after the other with each of its images. What others have, too, they still wait for. */
  #goBehind(node: string): void {
    for (const digest of this.#wanted.get(node) ?? []) {
      const image = this.#images.get(digest);
      const waiting = image?.waiting.get(node);
      if (image === undefined || waiting === undefined) continue;
      image.waiting.delete(node);
      image.waiting.set(node, waiting);
      if (image.waiting.size > 1 || image.sender !== null) continue;
      this.#images.delete(digest);
      this.#images.set(digest, image);
    }
  }
}
