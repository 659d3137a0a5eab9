import { setImmediate } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Blob } from '../../evidence/kept-form.ts';
import { inSteps } from '../../formats/in-steps.ts';
import type { ImaTail } from '../../verify/ima/prove-list.ts';
import { type ImaProblem, isProvenList } from '../../verify/ima/proven-list.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Verifier } from '../../verify/verifier.ts';
import { type ImaPiece, isImaIndex, parseImaIndex } from '../../wire/ima-pieces.ts';
import type { AnsweredSupplement, ArrivedSupplement, SupplementPlace } from '../../wire/supplements.ts';
import {
  addPieces,
  bytesOf,
  cut,
  emptyList,
  joined,
  keptAs,
  keptOf,
  type ListProblem,
  leastPiece,
  lengthOf,
  type NodeList,
  named,
  none,
  noted,
  notKept,
  sizeOf,
  tooLong,
  tooOften,
  viewsFrom,
} from './ima-list.ts';
import type {
  GivenSupplement,
  KeptSupplement,
  LackingAnswer,
  StoredPlace,
  Supplement,
  TakenSupplement,
} from './supplement.ts';
import { WaitingLists } from './waiting-lists.ts';

export interface ImaListParts {
  readonly verifier: Pick<Verifier, 'imaProven'>;
  /** The bytes of an index, or of a piece, of this node's list; null if they are gone. */
  readPiece(digest: string, node: string): Promise<Buffer | null>;
  /** Bytes that are kept of one node and boot. */
  readonly most: number;
  /** Milliseconds in which a list that moves all the time gets one piece that is short. */
  readonly sealEvery: number;
  /** Monotonic milliseconds. */
  monotonic(): number;
}

/** Lists that are read from the store at a time: each is in memory as a whole then. */
const readAtOnce = 2;
/** Milliseconds until a list that failed is asked for again: none the first time in a boot, then each time twice as many. */
const firstPause = 120_000;
const longestPause = 3_600_000;
/** Boots of a node that may fill their budget one after the other; then one in so many milliseconds. */
const boots = 4;
const bootEvery = 3_600_000;

/** Pieces of a list that are yet to be proven, and are in memory until then. */
interface ShownList {
  readonly tail: ImaTail;
  readonly done: () => void;
}

/**
 * IMA's list of each node: as far as quotes proved it, in pieces that are on the disk and a short tail behind them; and what
 * came since and waits for the rest.
 */
export class ImaLists implements Supplement {
  readonly name = 'ima';
  readonly #parts: ImaListParts;
  readonly #lists = new Map<string, NodeList>();
  readonly #readOnes = pLimit(readAtOnce);
  readonly #waiting = new WaitingLists();
  /** By node, bytes that were made in boots before this one, less with time. */
  readonly #earlier = new Map<string, { readonly bytes: number; readonly at: number }>();

  constructor(parts: ImaListParts) {
    this.#parts = parts;
  }

  /** Goes on from the pieces that a node's status names. */
  async restore({ name, parts, resetCount, restartCount, bootId }: StoredPlace): Promise<void> {
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

  /** Where a node's list is to go on; null if none is asked for at present: it cannot be proven, or is too long. */
  ask(node: string): SupplementPlace | null {
    const list = this.#lists.get(node);
    if (list === undefined) return { of: [], from: 0, bootId: null };
    return this.#pausedBy(list) === null ? { of: [], from: lengthOf(list), bootId: list.bootId } : null;
  }

  held(): null {
    return null;
  }

  /** @param answered that asked for it, in whichever way: then a list that stands still counts as it was judged */
  take(lacking: LackingAnswer, answered: AnsweredSupplement | undefined): Promise<TakenSupplement> | null {
    const { asked = null, came = null } = answered ?? {};
    if (came === null && lacking.proven.ima === null && !this.#lists.has(lacking.node.name)) return null;
    return this.#taken(lacking, came, asked !== null);
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
    if (isGone([...parseImaIndex(list.index), ...list.short])) this.#waiting.beginAgain(list);
    const { known } = list;
    if (known !== null && isGone([...known.pieces, ...known.short])) list.known = null;
  }

  forget(node: string): void {
    const list = this.#lists.get(node);
    if (list !== undefined) this.#waiting.set(list, []);
    this.#lists.delete(node);
    this.#earlier.delete(node);
  }

  async #taken(
    lacking: LackingAnswer,
    arrived: ArrivedSupplement | null,
    isAsked: boolean,
  ): Promise<TakenSupplement> {
    const { proven: first } = lacking;
    const { name: node } = lacking.node;
    const added = this.#add(node, first, arrived);
    if (added === 'again') return { is: 'more' };
    if (added === null) {
      const standing = isAsked ? standingStill(this.#lists.get(node), first, lacking.judgedTo()) : null;
      return { is: 'enough', given: standing };
    }
    const { list, paused } = added;
    if (paused !== null)
      return enough(paused.said, async () => paused.part && keptAs(list, paused.part, none));
    list.isJudged = true;
    let shown: ShownList | null = null;
    try {
      shown = await this.#shown(node, list, first.akName, lacking.judgedTo());
    } finally {
      if (shown === null) list.isJudged = false;
    }
    if (shown !== null)
      return enough(
        shown.tail,
        ({ ima }) => this.#kept(list, ima),
        () => {
          list.isJudged = false;
          shown.done();
        },
      );
    // A piece is gone.
    this.forget(node);
    return { is: 'more' };
  }

  /** Adds what came to the list that it goes on from. */
  #add(
    node: string,
    { clock, facts }: Proven,
    arrived: ArrivedSupplement | null,
  ): { readonly list: NodeList; readonly paused: ListProblem | null } | 'again' | null {
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
    if (from === 0 ? lengthOf(list) > 0 : !isOfKernel) this.#waiting.beginAgain(list);
    // Another connection brought what comes before it, or another kernel runs.
    if (from !== lengthOf(list)) return 'again';
    this.#waiting.set(list, joined(list.came, pieces));
    this.#waiting.meet(list);
    const problem = this.#overBudget(node, list);
    if (problem !== null) {
      this.#waiting.set(list, []);
      list.problem = problem;
      return { list, paused: problem };
    }
    this.#waiting.makeRoom(list);
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

  #overBudget(node: string, { made, tail, waiting }: NodeList): ListProblem | null {
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
  #pausedBy({ problem }: NodeList): ListProblem | null {
    const isOver = problem?.until != null && this.#parts.monotonic() >= problem.until;
    return isOver ? null : problem;
  }

  /** Null if a piece is gone. */
  async #shown(
    node: string,
    list: NodeList,
    akName: string,
    judgedTo: string | null,
  ): Promise<ShownList | null> {
    const inMemory = [list.tail, ...list.came];
    const proven = list.isAnew ? null : this.#parts.verifier.imaProven(akName);
    // Judged up to another entry, for example by an earlier policy: the list is read from its beginning.
    const isJudged = proven !== null && proven.head === judgedTo;
    if (isJudged && proven.bytes >= list.sealed && proven.bytes <= lengthOf(list))
      return {
        tail: { from: proven.bytes, chunks: viewsFrom(inMemory, proven.bytes - list.sealed) },
        done: noMore,
      };
    if (list.sealed === 0) return { tail: { from: 0, chunks: inMemory }, done: noMore };
    const done = await this.#placeToRead();
    const pieces = await this.#read(node, list).catch((error: unknown) => {
      done();
      throw error;
    });
    if (pieces !== null) return { tail: { from: 0, chunks: [...pieces, ...inMemory] }, done };
    done();
    return null;
  }

  #placeToRead(): Promise<() => void> {
    return new Promise((has) => {
      void this.#readOnes(() => new Promise<void>((done) => has(done)));
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

  async #kept(list: NodeList, ima: Proven['ima']): Promise<KeptSupplement> {
    const inMemory = [list.tail, ...list.came];
    if (ima !== null && !isProvenList(ima)) return this.#keepProblem(list, inMemory, ima);
    const end = ima === null ? lengthOf(list) : ima.bytes;
    // Attack: the quote of a young boot, by its word of the boot before, has the long list of that one read with each answer.
    if (end < list.sealed) {
      const part = named(list.index);
      this.#waiting.beginAgain(list);
      return keptAs(list, part, none);
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
    this.#waiting.set(list, []);
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

  /** The whole of it is kept, so that the verdict can be derived again; once for failures in a row that are alike. */
  async #keepProblem(list: NodeList, inMemory: readonly Buffer[], said: ImaProblem): Promise<KeptSupplement> {
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
    this.#waiting.beginAgain(list);
    return keptAs(list, part, none);
  }
}

/**
 * Nothing of the list came, and PCR 10 is unchanged: the list judged earlier still counts, and the answer names it.
 * Null if nothing rests on it.
 */
function standingStill(
  list: NodeList | undefined,
  { ima }: Proven,
  judgedTo: string | null,
): GivenSupplement | null {
  if (!isProvenList(ima) || judgedTo !== ima.head) return null;
  if (list === undefined || list.isAnew || ima.bytes !== list.sealed + list.tail.length)
    return { ...noPart, list: notKept, kept: async () => null };
  return { ...noPart, kept: async () => keptOf(list) };
}

function enough(
  list: ImaTail | ImaProblem,
  kept: (proven: Proven) => Promise<KeptSupplement | null>,
  done: () => void = noMore,
): TakenSupplement {
  return { is: 'enough', given: { ...noPart, list, kept, done } };
}

const noPart: GivenSupplement = { name: 'ima', part: null, files: new Map() };
const noMore = () => {};
