import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { ArrivedIma } from '../channel/arrived-pieces.ts';
import type { Blob } from '../evidence/kept-form.ts';
import type { Part } from '../protocol/evidence.ts';
import { type ImaPiece, imaIndex, imaIndexHead, isImaIndex, parseImaIndex } from '../protocol/ima-pieces.ts';
import { inSteps } from '../protocol/in-steps.ts';
import { limits } from '../protocol/limits.ts';
import type { ListPlace } from '../protocol/messages.ts';
import { type ImaProblem, isProvenList } from '../verify/ima/proven-list.ts';
import type { Proven } from '../verify/proven.ts';
import type { Verifier } from '../verify/verifier.ts';
import type { ImaTail } from '../verify/verify.ts';
import type { NodeStatus } from './ports.ts';

export interface ImaListParts {
  readonly verifier: Pick<Verifier, 'imaProven'>;
  /** The bytes of an index, or of a piece, of this node's list; null where they are gone. */
  readPiece(digest: string, node: string): Promise<Buffer | null>;
  /** Bytes that are kept of one node and boot. */
  readonly most: number;
  /** Milliseconds in which a list that moves all the time gets one piece that is short. */
  readonly sealEvery: number;
  /** Milliseconds of a clock that nobody sets. */
  monotonic(): number;
}

/** What is done with a list that an answer brings. */
export interface ImaWork {
  /** Up to where the policy in force judged this node's list: a `head` of `ProvenImaList`. */
  judgedTo(): string | null;
  /** Proves the whole answer, and looks at the list, in steps of some milliseconds. @throws Rejection */
  prove(list: ImaTail | ImaProblem): Iterator<void, Proven>;
  /** Waited for between two of these steps. */
  pause(): Promise<void>;
}

/** What is kept of a list beside the verdict on it. */
export interface KeptIma {
  /** The index of its pieces. */
  readonly part: Part;
  /** What is proven behind them: it stands in the answer's own document. */
  readonly tail: Buffer;
  /** Pieces that may not be on the disk yet. */
  readonly pieces: readonly Blob[];
}

/** What a node's status says of its pieces. */
type NamedPieces = Pick<NodeStatus, 'name' | 'parts' | 'resetCount' | 'restartCount' | 'bootId'>;

export interface ProvenAnswer {
  readonly proven: Proven;
  /** Null where nothing of the list is kept. */
  readonly kept: KeptIma | null;
}

/** A tail as long as this becomes a piece; a shorter one is kept in short pieces meanwhile. */
const leastPiece = 32 * 1024;
/** Bytes that wait for the rest of their list, of all nodes together. */
const mostWaiting = 256 * 1024 * 1024;
/** Lists that are read from the store at a time: each is in memory as a whole then. */
const readAtOnce = 2;
/** Milliseconds until a list that failed is asked for again: none the first time in a boot, then each time twice as many. */
const firstPause = 120_000;
const longestPause = 3_600_000;
/** Boots of a node that may fill their budget one after the other; then one in so many milliseconds. */
const boots = 4;
const bootEvery = 3_600_000;

/**
 * IMA's list of each node: as far as quotes proved it, in pieces that are on the disk and a short tail behind them; and what
 * came since and waits for the rest.
 */
export class ImaLists {
  readonly #parts: ImaListParts;
  readonly #lists = new Map<string, NodeList>();
  readonly #readOnes = pLimit(readAtOnce);
  /** Of which something waits; those that got more of it last are last. */
  readonly #waitingOnes = new Set<NodeList>();
  #waiting = 0;
  /** By node, bytes that were made in boots before this one, less with time. */
  readonly #earlier = new Map<string, { readonly bytes: number; readonly at: number }>();

  constructor(parts: ImaListParts) {
    this.#parts = parts;
  }

  /** Goes on from the pieces that a node's status names. */
  async restore({ name, parts, resetCount, restartCount, bootId }: NamedPieces): Promise<void> {
    if (parts.ima === undefined || resetCount === null || restartCount === null) return;
    const index = await this.#parts.readPiece(parts.ima, name);
    // An earlier version kept the list itself. It is short, and comes again.
    if (index === null || !isImaIndex(index)) return;
    const list = emptyList(`${resetCount}.${restartCount}`, bootId);
    list.index = index;
    list.sealed = bytesOf(parseImaIndex(index));
    list.made = list.sealed;
    this.#lists.set(name, list);
  }

  /** Where a node's list is to go on; null where none is asked for at present: it cannot be proven, or is too long. */
  ask(node: string): ListPlace | null {
    const list = this.#lists.get(node);
    if (list === undefined) return { from: 0, bootId: null };
    return this.#pausedBy(list) === null ? { from: lengthOf(list), bootId: list.bootId } : null;
  }

  /** Whether there is something to prove of a list: one came, or one is known. @param first proven without it */
  concerns(node: string, first: Proven, arrived: ArrivedIma | null | undefined): boolean {
    return arrived != null || first.ima !== null || this.#lists.has(node);
  }

  /**
   * Proves an answer with the list that it brings. `again`: the node is to be asked for more of it first. Null: there is
   * nothing to say of a list.
   * @param first the same answer, proven without its list
   * @param arrived null where nothing of it came; undefined where it was not asked for
   * @throws Rejection as `work`
   */
  async prove(
    node: string,
    first: Proven,
    arrived: ArrivedIma | null | undefined,
    work: ImaWork,
  ): Promise<ProvenAnswer | 'again' | null> {
    const taken = this.#take(node, first, arrived ?? null);
    if (taken === 'again') return taken;
    if (taken === null && arrived === undefined) return null;
    if (taken === null) return this.#keepStanding(this.#lists.get(node), first, work);
    const { list, paused } = taken;
    list.isJudged = true;
    try {
      if (paused !== null) {
        const proven = await inSteps(work.prove(paused.said), work.pause);
        return { proven, kept: paused.part && { part: paused.part, tail: none, pieces: unwrittenOf(list) } };
      }
      const proven = await this.#proveWith(node, list, first.akName, work);
      if (proven !== null) return { proven, kept: await this.#keep(list, proven.ima) };
      // A piece is gone.
      this.forget(node);
      return 'again';
    } finally {
      list.isJudged = false;
    }
  }

  /** These are on the disk. */
  written(node: string, pieces: readonly Blob[]): void {
    const list = this.#lists.get(node);
    for (const { digest } of pieces) list?.unwritten.delete(digest);
  }

  /**
   * Shared evidence of this node is gone. Attack: what it sent with an answer that came to nothing gives way, and is named by the next
   * one as if it was kept.
   */
  gone(node: string, digests: readonly string[]): void {
    const list = this.#lists.get(node);
    if (list === undefined) return;
    const lost = new Set(digests);
    const isGone = (pieces: readonly ImaPiece[]) => pieces.some(({ digest }) => lost.has(digest));
    if (isGone([...parseImaIndex(list.index), ...list.short])) this.#beginAgain(list);
    const { known } = list;
    if (known !== null && isGone([...known.pieces, ...known.short])) list.known = null;
  }

  forget(node: string): void {
    const list = this.#lists.get(node);
    if (list !== undefined) this.#setCame(list, []);
    this.#lists.delete(node);
    this.#earlier.delete(node);
  }

  /** Adds what came to the list that it goes on from. */
  #take(node: string, { clock, facts }: Proven, arrived: ArrivedIma | null): Taken | 'again' | null {
    const before = this.#lists.get(node);
    if (before === undefined && arrived === null) return null;
    const bootId = facts?.bootId ?? null;
    const list = this.#ofBoot(node, before, `${clock.resetCount}.${clock.restartCount}`, bootId);
    const paused = this.#pausedBy(list);
    if (paused !== null) return { list, paused };
    // It was not asked for while the list of an earlier boot had a problem.
    if (arrived === null) return before !== list && before?.problem != null ? 'again' : null;
    const { from, more, pieces } = arrived;
    const isOfKernel = list.bootId === bootId;
    list.bootId = bootId;
    if (from === 0 ? lengthOf(list) > 0 : !isOfKernel) this.#beginAgain(list);
    // Another connection brought what comes before it, or another kernel runs.
    if (from !== lengthOf(list)) return 'again';
    this.#setCame(list, joined(list.came, pieces));
    this.#meet(list);
    const problem = this.#overBudget(node, list);
    if (problem !== null) {
      this.#setCame(list, []);
      list.problem = problem;
      return { list, paused: problem };
    }
    this.#makeRoom(list);
    return more || from + sizeOf(pieces) !== lengthOf(list) ? 'again' : { list, paused: null };
  }

  /** By the TPM's counters: no node has more kept of it by its own word. A machine that slept goes on with its list. */
  #ofBoot(node: string, before: NodeList | undefined, boot: string, bootId: string | null): NodeList {
    if (before?.boot === boot) return before;
    if (before !== undefined && before.bootId === bootId && bootId !== null) {
      before.boot = boot;
      // The verifier knows nothing of it.
      before.isAnew = true;
      return before;
    }
    const bytes = this.#earlierBytes(node) + (before?.made ?? 0);
    this.forget(node);
    if (bytes > 0) this.#earlier.set(node, { bytes, at: this.#parts.monotonic() });
    const list = emptyList(boot, bootId);
    this.#lists.set(node, list);
    return list;
  }

  #overBudget(node: string, { made, tail, waiting }: NodeList): Problem | null {
    const { most, monotonic } = this.#parts;
    const bytes = made + tail.length + waiting;
    if (bytes > most) return { said: tooLong(most), part: null, until: null };
    // Attack: a machine that starts again and again, with another long list each time, which fills the disk.
    if (bytes + this.#earlierBytes(node) <= boots * most) return null;
    return { said: tooOften(boots * most), part: null, until: monotonic() + bootEvery };
  }

  #earlierBytes(node: string): number {
    const { most, monotonic } = this.#parts;
    const earlier = this.#earlier.get(node);
    if (earlier === undefined) return 0;
    return Math.max(0, earlier.bytes - ((monotonic() - earlier.at) / bootEvery) * most);
  }

  /** The problem for which the list is left alone for now; null: there is none, or the list may be tried again. */
  #pausedBy({ problem }: NodeList): Problem | null {
    const isOver = problem?.until != null && this.#parts.monotonic() >= problem.until;
    return isOver ? null : problem;
  }

  #beginAgain(list: NodeList): void {
    const { index, known } = list;
    const pieces = [...parseImaIndex(index), ...(known?.pieces ?? [])];
    const { tail, short } = known ?? list;
    list.known = { pieces, tail, short };
    list.index = emptyIndex;
    list.sealed = 0;
    list.tail = none;
    list.short = [];
    list.isAnew = true;
    this.#setCame(list, []);
  }

  #setCame(list: NodeList, came: readonly Buffer[]): void {
    const size = sizeOf(came);
    this.#waiting += size - list.waiting;
    list.came = came;
    list.waiting = size;
    this.#waitingOnes.delete(list);
    if (size > 0) this.#waitingOnes.add(list);
  }

  /** Of a list that comes from its begin again: what is kept already is known by its digests, and does not wait. */
  #meet(list: NodeList): void {
    for (let { known } = list; known !== null; known = list.known) {
      const [next, ...others] = known.pieces;
      const size = next?.bytes ?? known.tail.length;
      if (list.waiting < size) return;
      const met = bytesBetween(list.came, 0, size);
      const isSame = next === undefined ? met.equals(known.tail) : hash('sha256', met, 'hex') === next.digest;
      if (!isSame) {
        list.known = null;
        return;
      }
      this.#setCame(list, viewsFrom(list.came, size));
      if (next === undefined) {
        list.tail = known.tail;
        list.short = known.short;
        list.known = null;
        list.isAnew = false;
      } else {
        addPieces(list, [next]);
        list.known = { ...known, pieces: others };
      }
    }
  }

  /**
   * What gives way is asked for again: it is that of the node which sent nothing for longest. Attack: nodes that send half a list,
   * so that others find no room.
   */
  #makeRoom(newest: NodeList): void {
    for (const list of this.#waitingOnes) {
      if (this.#waiting <= mostWaiting) return;
      if (list !== newest && !list.isJudged) this.#setCame(list, []);
    }
  }

  /** Null where a piece is gone. */
  async #proveWith(node: string, list: NodeList, akName: string, work: ImaWork): Promise<Proven | null> {
    const inMemory = [list.tail, ...list.came];
    const proven = list.isAnew ? null : this.#parts.verifier.imaProven(akName);
    // Judged to another place, as by a policy of before: the list is shown from its begin.
    const isJudged = proven !== null && proven.head === work.judgedTo();
    if (isJudged && proven.bytes >= list.sealed && proven.bytes <= lengthOf(list))
      return inSteps(
        work.prove({ from: proven.bytes, chunks: viewsFrom(inMemory, proven.bytes - list.sealed) }),
        work.pause,
      );
    if (list.sealed === 0) return inSteps(work.prove({ from: 0, chunks: inMemory }), work.pause);
    return this.#readOnes(async () => {
      const pieces = await this.#read(node, list);
      return pieces && (await inSteps(work.prove({ from: 0, chunks: [...pieces, ...inMemory] }), work.pause));
    });
  }

  async #read(node: string, { index, unwritten }: NodeList): Promise<readonly Buffer[] | null> {
    const pieces: Buffer[] = [];
    for (const { digest } of parseImaIndex(index)) {
      const bytes = unwritten.get(digest) ?? (await this.#parts.readPiece(digest, node));
      if (bytes === null) return null;
      pieces.push(bytes);
      // All of it at once holds up others for a quarter of a second.
      await setImmediate();
    }
    return pieces;
  }

  async #keep(list: NodeList, ima: Proven['ima']): Promise<KeptIma> {
    const inMemory = [list.tail, ...list.came];
    if (ima !== null && !isProvenList(ima)) return this.#keepProblem(list, inMemory, ima);
    const end = ima === null ? lengthOf(list) : ima.bytes;
    // Attack: the quote of a young boot, by its word of the boot before, has the long list of that one read with each answer.
    if (end < list.sealed) {
      const part = named(list.index);
      this.#beginAgain(list);
      return { part, tail: none, pieces: unwrittenOf(list) };
    }
    // What the quote does not reach comes again.
    const { pieces, rest } = await inSteps(cut(inMemory, end - list.sealed, leastPiece));
    if (pieces.length > 0) list.short = [];
    addPieces(list, noted(list, pieces));
    list.made += sizeOf(pieces.map(({ bytes }) => bytes));
    list.tail = rest;
    list.isAnew = false;
    list.known = null;
    list.problem = null;
    this.#setCame(list, []);
    this.#sealTail(list);
    return keptOf(list);
  }

  /** A list that stands still is named by each answer, and written with none. */
  #sealTail(list: NodeList): void {
    const now = this.#parts.monotonic();
    const left = list.tail.subarray(bytesOf(list.short));
    if (left.length === 0 || now < list.sealAgainAt) return;
    list.short = [...list.short, ...noted(list, [named(left)])];
    list.sealAgainAt = now + this.#parts.sealEvery;
  }

  /**
   * Nothing of the list came, and PCR 10 is where it was: what was judged before counts still, and the answer names it. Null
   * where nothing rests on it.
   */
  async #keepStanding(
    list: NodeList | undefined,
    first: Proven,
    { judgedTo, prove }: ImaWork,
  ): Promise<ProvenAnswer | null> {
    const { ima } = first;
    if (!isProvenList(ima) || judgedTo() !== ima.head) return null;
    if (list === undefined || list.isAnew || ima.bytes !== list.sealed + list.tail.length)
      return { proven: await inSteps(prove(notKept)), kept: null };
    return { proven: first, kept: keptOf(list) };
  }

  /** The whole of it is kept, so that the verdict can be derived again; once for failures in a row that are alike. */
  async #keepProblem(list: NodeList, inMemory: readonly Buffer[], said: ImaProblem): Promise<KeptIma> {
    const before = list.problem?.said.code === said.code ? list.problem.part : null;
    if (before === null) {
      const { pieces } = await inSteps(cut(inMemory, sizeOf(inMemory), 1));
      addPieces(list, noted(list, pieces));
      list.made += sizeOf(inMemory);
    }
    const part = before ?? named(list.index);
    // Attack: a list that fails each second time, so that it is sent and replayed from its begin again and again.
    const pause = list.failures === 0 ? 0 : Math.min(longestPause, firstPause * 2 ** (list.failures - 1));
    list.failures += 1;
    list.problem = { said, part, until: this.#parts.monotonic() + pause };
    list.tail = none;
    list.short = [];
    this.#beginAgain(list);
    return { part, tail: none, pieces: unwrittenOf(list) };
  }
}

/** A list, or the problem for which it is left alone. */
interface Taken {
  readonly list: NodeList;
  readonly paused: Problem | null;
}

interface NodeList {
  /** Counts of resets and restarts, as the TPM signs them. */
  boot: string;
  /** Of the kernel, by the node's word. */
  bootId: string | null;
  /** Of the pieces that are kept, and their bytes together. */
  index: Buffer;
  sealed: number;
  /** Proven bytes behind these, and the short pieces that its begin is kept in: longer ones take their place. */
  tail: Buffer;
  short: readonly ImaPiece[];
  /** By the clock that nobody sets. */
  sealAgainAt: number;
  /** What came behind the tail and is not proven, and its bytes. */
  came: readonly Buffer[];
  waiting: number;
  /** What is here is not known to be the list that was proven last. */
  isAnew: boolean;
  /** Of the list that was here before it came again: what it has not met yet. */
  known: (Pick<NodeList, 'tail' | 'short'> & { readonly pieces: readonly ImaPiece[] }) | null;
  /** Bytes of all pieces that were made in this boot, but for short ones. */
  made: number;
  /** Pieces, and indexes, by digest, that may not be on the disk yet. */
  readonly unwritten: Map<string, Buffer>;
  problem: Problem | null;
  /** In this boot. */
  failures: number;
  /** It must stay as it is. */
  isJudged: boolean;
}

/** Why the list counts for nothing. */
interface Problem {
  readonly said: ImaProblem;
  /** The index of what failed. */
  readonly part: Part | null;
  /** When it is asked for again, by the clock that nobody sets; null: not in this boot. */
  readonly until: number | null;
}

const none = Buffer.alloc(0);
const emptyIndex = imaIndex([]);

function emptyList(boot: string, bootId: string | null): NodeList {
  return {
    boot,
    bootId,
    index: emptyIndex,
    sealed: 0,
    tail: none,
    short: [],
    sealAgainAt: Number.NEGATIVE_INFINITY,
    came: [],
    waiting: 0,
    isAnew: true,
    known: null,
    made: 0,
    unwritten: new Map(),
    problem: null,
    failures: 0,
    isJudged: false,
  };
}

function lengthOf({ sealed, tail, waiting }: NodeList): number {
  return sealed + tail.length + waiting;
}

function keptOf(list: NodeList): KeptIma {
  const { index, short, tail } = list;
  const part = named(indexWith(index, short));
  return { part, tail: tail.subarray(bytesOf(short)), pieces: unwrittenOf(list) };
}

const notKept: ImaProblem = {
  code: 'ima_incomplete',
  text: 'nothing of the list came, and what came before is not kept',
  entry: null,
  offset: null,
  field: null,
};

function tooLong(most: number): ImaProblem {
  const text = `the list is longer than the ${most} bytes that this server keeps of one node and boot`;
  return { code: 'ima_incomplete', text, entry: null, offset: most, field: null };
}

function tooOften(most: number): ImaProblem {
  const text = `the lists of this boot and of those shortly before are longer than ${most} bytes together`;
  return { code: 'ima_incomplete', text, entry: null, offset: null, field: null };
}

/** Pieces of which the bytes are kept already. */
function addPieces(list: NodeList, pieces: readonly ImaPiece[]): void {
  list.index = indexWith(list.index, pieces);
  list.sealed += bytesOf(pieces);
}

function indexWith(index: Buffer, pieces: readonly ImaPiece[]): Buffer {
  return pieces.length === 0 ? index : Buffer.concat([index, imaIndex(pieces).subarray(imaIndexHead.length)]);
}

/** To be written with the answer. */
function noted({ unwritten }: NodeList, pieces: readonly Blob[]): readonly ImaPiece[] {
  return pieces.map(({ digest, bytes }) => {
    unwritten.set(digest, bytes);
    return { digest, bytes: bytes.length };
  });
}

function named(bytes: Buffer): Blob {
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

function unwrittenOf({ unwritten }: NodeList): readonly Blob[] {
  return [...unwritten].map(([digest, bytes]) => ({ digest, bytes }));
}

function bytesOf(pieces: readonly ImaPiece[]): number {
  return pieces.reduce((sum, { bytes }) => sum + bytes, 0);
}

function sizeOf(chunks: readonly Buffer[]): number {
  return chunks.reduce((sum, { length }) => sum + length, 0);
}

/**
 * Neighbours that fit into one piece become one, in memory of their own. Attack: pieces of one byte, each of which holds all
 * that came from the network together with it.
 */
function joined(came: readonly Buffer[], pieces: readonly Buffer[]): readonly Buffer[] {
  const groups: Buffer[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const piece of [...came.slice(-1), ...pieces]) {
    size += piece.length;
    if (size > limits.ima.piece) {
      groups.push([]);
      size = piece.length;
    }
    groups.at(-1)?.push(piece);
  }
  const whole = groups.map((group) => (group.length === 1 ? group : [Buffer.concat(group)]));
  return [...came.slice(0, -1), ...whole.flat()];
}

/** Cuts the first `end` bytes into pieces, one in a step; fewer than `least` are left. All are in memory of their own. */
function* cut(
  chunks: readonly Buffer[],
  end: number,
  least: number,
): Generator<void, { readonly pieces: readonly Blob[]; readonly rest: Buffer }> {
  const pieces: Blob[] = [];
  let at = 0;
  for (let size = 0; end - at >= least; at += size) {
    size = Math.min(end - at, limits.ima.piece);
    pieces.push(named(bytesBetween(chunks, at, at + size)));
    yield;
  }
  return { pieces, rest: bytesBetween(chunks, at, end) };
}

/** In memory of their own. */
function bytesBetween(chunks: readonly Buffer[], from: number, to: number): Buffer {
  return Buffer.concat(viewsFrom(chunks, from), to - from);
}

function viewsFrom(chunks: readonly Buffer[], from: number): readonly Buffer[] {
  let at = 0;
  return chunks.flatMap((chunk) => {
    const begin = Math.max(0, from - at);
    at += chunk.length;
    return begin < chunk.length ? [chunk.subarray(begin)] : [];
  });
}
