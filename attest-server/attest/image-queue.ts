/** Who sends which image when: few at a time over all nodes, in the order in which they came to wait. */
export interface QueueOptions {
  /** Images that are sent at a time. */
  readonly atOnce: number;
  /** Milliseconds in which whoever has a place must send something; then the next one has it. */
  readonly patience: number;
  /** Milliseconds for which a place is had while others wait, for it or for the same image. */
  readonly turn: number;
  /** Milliseconds for which a node is thought to be there after it was heard of. */
  readonly aliveFor: number;
  /** Milliseconds of a clock that nobody sets. */
  monotonic(): number;
  /** It is this node's turn. */
  called(node: string): void;
}

/** What became of an image for one node. */
export type Standing =
  /** It is to send this image. @param since when its turn began */
  | { readonly is: 'sending'; readonly since: number }
  /** Another node sends the same image. */
  | { readonly is: 'shared'; readonly by: string }
  /** @param place from 1 */
  | { readonly is: 'waiting'; readonly place: number; readonly of: number }
  /** It could not be had of this node, which is left alone for so many milliseconds. */
  | { readonly is: 'failed'; readonly why: string; readonly again: number };

interface Waiting {
  seenAt: number;
  failures: number;
  /** Why it is left alone, and until when. */
  problem: { readonly why: string; readonly until: number } | null;
  /** It had its turn and was not heard of: it has none until it is. */
  isSilent: boolean;
}

interface Image {
  readonly waiting: Map<string, Waiting>;
  sender: { readonly node: string; readonly since: number; readonly timer: NodeJS.Timeout } | null;
}

/** Milliseconds until a node that failed is asked again; each time in a row twice as many. */
const firstPause = 60_000;
const longestPause = 3_600_000;

export class ImageQueue {
  readonly #options: QueueOptions;
  /** By digest; whoever waits for longest comes first. */
  readonly #images = new Map<string, Image>();
  /** By node, the images that it waits for: thousands of nodes may wait, and most answers are of those that do not. */
  readonly #wanted = new Map<string, readonly string[]>();
  /** By node, the image that it is to send. */
  readonly #turns = new Map<string, string>();

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

  /** Null where the node does not wait for this image. */
  standing(node: string, digest: string): Standing | null {
    const image = this.#images.get(digest);
    const waiting = image?.waiting.get(node);
    if (image === undefined || waiting === undefined) return null;
    if (image.sender?.node === node) return { is: 'sending', since: image.sender.since };
    const { problem } = waiting;
    const left = (problem?.until ?? 0) - this.#options.monotonic();
    if (problem !== null && left > 0) return { is: 'failed', why: problem.why, again: left };
    if (image.sender !== null) return { is: 'shared', by: image.sender.node };
    let [place, of] = [0, 0];
    for (const [each, other] of this.#images) {
      if (other.sender !== null || (each !== digest && this.#ready(other) === null)) continue;
      of += 1;
      if (each === digest) place = of;
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

  /** Something of its image came from the node whose turn it is. */
  moved(digest: string): void {
    const image = this.#images.get(digest);
    if (image === undefined || image.sender === null) return;
    image.sender.timer.refresh();
    const isOver = this.#options.monotonic() - image.sender.since >= this.#options.turn;
    // Attack: a node that sends a byte at a time, and keeps others from it, also those that booted the same image.
    if (isOver && (this.#isWaitedFor() || this.#ready(image) !== null)) this.#giveUp(digest);
  }

  failed(node: string, digest: string, why: string): void {
    const image = this.#images.get(digest);
    const waiting = image?.waiting.get(node);
    if (image === undefined || waiting === undefined) return;
    const pause = Math.min(longestPause, firstPause * 2 ** waiting.failures);
    waiting.failures += 1;
    waiting.problem = { why, until: this.#options.monotonic() + pause };
    if (image.sender?.node === node) this.#giveUp(digest);
  }

  /** It is here: nobody waits for it any more. */
  done(digest: string): void {
    const image = this.#images.get(digest);
    if (image === undefined) return;
    this.#endTurn(image);
    this.#images.delete(digest);
    this.#assign();
  }

  close(): void {
    for (const image of this.#images.values()) this.#endTurn(image);
    this.#images.clear();
    this.#wanted.clear();
  }

  #leave(node: string, digest: string): void {
    const image = this.#images.get(digest);
    if (image === undefined) return;
    if (image.sender?.node === node) this.#endTurn(image);
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
    let free = this.#options.atOnce - this.#turns.size;
    for (const [digest, image] of this.#images) {
      if (free <= 0) return;
      if (image.sender !== null) continue;
      const node = this.#ready(image);
      if (node === null) continue;
      const timer = setTimeout(() => this.#silent(digest), this.#options.patience).unref();
      image.sender = { node, since: this.#options.monotonic(), timer };
      this.#turns.set(node, digest);
      free -= 1;
      this.#options.called(node);
    }
  }

  /** The node that can send it now, and waits for longest. */
  #ready({ waiting }: Image): string | null {
    const now = this.#options.monotonic();
    for (const [node, { seenAt, problem, isSilent }] of waiting) {
      const isThere = !isSilent && now - seenAt <= this.#options.aliveFor;
      if (isThere && now >= (problem?.until ?? 0) && this.turnOf(node) === null) return node;
    }
    return null;
  }

  #isWaitedFor(): boolean {
    for (const image of this.#images.values())
      if (image.sender === null && this.#ready(image) !== null) return true;
    return false;
  }

  #silent(digest: string): void {
    const image = this.#images.get(digest);
    const waiting = image?.waiting.get(image.sender?.node ?? '');
    if (waiting !== undefined) waiting.isSilent = true;
    this.#giveUp(digest);
  }

  /** The image, and the node that had its turn, wait behind all others. */
  #giveUp(digest: string): void {
    const image = this.#images.get(digest);
    const node = image?.sender?.node;
    if (image === undefined || node === undefined) return;
    this.#endTurn(image);
    const waiting = image.waiting.get(node);
    image.waiting.delete(node);
    if (waiting !== undefined) image.waiting.set(node, waiting);
    this.#images.delete(digest);
    this.#images.set(digest, image);
    this.#assign();
  }
}
