import type { Duplex } from 'node:stream';
import { ownBytes } from '../wire/own-bytes.ts';
import { bounds } from './bounds.ts';

/** One proven connection, as it is counted. */
interface AnswerSender {
  readonly node: string;
  /** Ends the connection at once. */
  readonly giveWay: () => void;
  bytes: number;
  /** It has been ended. */
  isGone: boolean;
}

interface Node {
  readonly senders: Set<AnswerSender>;
  bytes: number;
  /** Since when it has some. */
  since: number;
}

/**
 * Bytes that proven connections sent, of answers that are open: a bound for all. What is being judged has bounds of its own, and nobody
 * could give that way. Where it is met, the heaviest node gives
 * way: by its bytes and the time for which it has had some, so that whoever sends much and is done goes on beside one who lets less
 * lie here.
 */
export class OpenAnswers {
  readonly #now: () => number;
  readonly #most: number;
  readonly #nodes = new Map<string, Node>();
  #bytes = 0;

  /** @param now monotonic milliseconds */
  constructor(now: () => number, most: number = bounds.openAnswers.bytes) {
    this.#now = now;
    this.#most = most;
  }

  /** As they count. */
  get bytes(): number {
    return this.#bytes;
  }

  /** From now on, a connection of this node: called with the number of its bytes. */
  enter(node: string, giveWay: () => void): (bytes: number) => void {
    const sender: AnswerSender = { node, giveWay, bytes: 0, isGone: false };
    return (bytes) => this.#set(sender, bytes);
  }

  #set(sender: AnswerSender, bytes: number): void {
    const change = bytes - sender.bytes;
    if (change === 0) return;
    const node = this.#nodes.get(sender.node) ?? { senders: new Set(), bytes: 0, since: this.#now() };
    this.#nodes.set(sender.node, node);
    sender.bytes = bytes;
    node.bytes += change;
    this.#bytes += change;
    if (bytes > 0) node.senders.add(sender);
    else node.senders.delete(sender);
    if (node.senders.size === 0) this.#nodes.delete(sender.node);
    while (change > 0 && this.#bytes > this.#most) {
      const heaviest = this.#heaviest();
      if (heaviest === null) return;
      heaviest.isGone = true;
      heaviest.giveWay();
    }
  }

  #heaviest(): AnswerSender | null {
    const now = this.#now();
    let [heaviest, most]: [AnswerSender | null, number] = [null, 0];
    for (const { senders, bytes, since } of this.#nodes.values()) {
      const weight = bytes * (now - since + bounds.openAnswers.grace);
      if (weight <= most) continue;
      const largest = largestOf(senders);
      if (largest !== null) [heaviest, most] = [largest, weight];
    }
    return heaviest;
  }
}

function largestOf(senders: Iterable<AnswerSender>): AnswerSender | null {
  let largest: AnswerSender | null = null;
  for (const sender of senders) if (!sender.isGone && sender.bytes > (largest?.bytes ?? 0)) largest = sender;
  return largest;
}

/** Bytes of one connection: of a frame that is arriving, and of an answer that is still open. */
export class OpenAnswer {
  #tell: (bytes: number) => void = () => {};
  #coming = 0;
  #pieces = 0;
  #open = 0;
  #isOver = false;

  /** Sees all bytes before anybody else does, and learns of each frame. */
  watch(socket: Duplex): void {
    socket.prependListener('data', ({ length }: Buffer) => this.came(length));
  }

  /** From now on it counts. @param tell called with the number of its bytes */
  count(tell: (bytes: number) => void): void {
    this.#tell = tell;
    this.#told();
  }

  /** So many bytes came from the network. */
  came(bytes: number): void {
    if (this.#isOver) return;
    this.#coming += bytes;
    this.#pieces += 1;
    this.#told();
  }

  /** The bytes were a frame of this length. @param isKept it may be a part of an answer, or names them */
  frame(bytes: number, isKept: boolean): void {
    this.#coming = Math.max(0, this.#coming - bytes - headBytes(bytes));
    this.#pieces = 0;
    if (isKept && !this.#isOver) this.#open += bytes;
    this.#told();
  }

  /** The answer to the previous challenge was dropped, or is being judged. */
  forget(): void {
    this.#open = 0;
    this.#told();
  }

  /** The connection is over. */
  end(): void {
    this.#isOver = true;
    this.#coming = 0;
    this.#pieces = 0;
    this.forget();
  }

  #told(): void {
    this.#tell(this.#coming + this.#pieces * bounds.openAnswers.piece + this.#open);
  }
}

/** Of a frame of RFC 6455, section 5.2, from a client: one frame in pieces has more of them. */
function headBytes(bytes: number): number {
  return bytes < 126 ? 6 : bytes < 65_536 ? 8 : 14;
}

/** Attack: each of many small parts keeps the large piece in memory in which it came. */
export function ownIfSmall(data: Buffer): Buffer {
  return data.buffer.byteLength <= 2 * data.length ? data : ownBytes(data);
}
