import { hash } from 'node:crypto';
import type { Blob } from '../../evidence/kept-form.ts';
import type { ImaProblem } from '../../verify/ima/proven-list.ts';
import type { Part } from '../../wire/evidence.ts';
import { type ImaPiece, imaIndex, imaIndexHead } from '../../wire/ima-pieces.ts';
import { limits } from '../../wire/limits.ts';
import type { KeptSupplement } from './supplement.ts';

/** IMA's list of one node. */
export interface NodeList {
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
  /** Monotonic milliseconds. */
  sealAgainAt: number;
  /** Pieces that came after the tail and are not proven, and their bytes. */
  came: readonly Buffer[];
  waiting: number;
  /** The list here is not known to be the one that was proven last. */
  isAnew: boolean;
  /** Of the list that was here before it came again: what it has not met yet. */
  known: (Pick<NodeList, 'tail' | 'short'> & { readonly pieces: readonly ImaPiece[] }) | null;
  /** Bytes of all pieces made in this boot, except short ones. */
  made: number;
  /** Pieces, and indexes, by digest, that may not be on the disk yet. */
  readonly unwritten: Map<string, Buffer>;
  problem: ListProblem | null;
  /** In this boot. */
  failures: number;
  /** It must stay as it is. */
  isJudged: boolean;
}

/** Why the list counts for nothing. */
export interface ListProblem {
  readonly said: ImaProblem;
  /** The index of what failed. */
  readonly part: Part | null;
  /** When it is asked for again, in monotonic milliseconds; null: not in this boot. */
  readonly until: number | null;
}

/** A tail as long as this becomes a piece; a shorter one is kept in short pieces meanwhile. */
export const leastPiece = 32 * 1024;
/** Pieces, of 1 MiB at most, that are written together with a verdict. */
const shortPieces = 2;
export const none = Buffer.alloc(0);
export const emptyIndex = imaIndex([]);

export function emptyList(boot: string, bootId: string | null): NodeList {
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

export function lengthOf({ sealed, tail, waiting }: NodeList): number {
  return sealed + tail.length + waiting;
}

/** As it is kept up to where it was proven. */
export function keptOf(list: NodeList): KeptSupplement {
  const { index, short, tail } = list;
  return keptAs(list, named(indexWith(index, short)), tail.subarray(bytesOf(short)));
}

export function keptAs({ unwritten }: NodeList, part: Part, tail: Buffer): KeptSupplement {
  const blobs = [...unwritten].map(([digest, bytes]) => ({ digest, bytes }));
  return { name: 'ima', part, tail, blobs, isLong: blobs.length > shortPieces };
}

export const notKept: ImaProblem = {
  code: 'ima_incomplete',
  text: 'nothing of the list came, and what came before is not kept',
  entry: null,
  offset: null,
  field: null,
};

export function tooLong(most: number): ImaProblem {
  const text = `the list is longer than the ${most} bytes that this server keeps of one node and boot`;
  return { code: 'ima_incomplete', text, entry: null, offset: most, field: null };
}

export function tooOften(most: number): ImaProblem {
  const text = `the lists of this boot and of those shortly before are longer than ${most} bytes together`;
  return { code: 'ima_incomplete', text, entry: null, offset: null, field: null };
}

/** Pieces of which the bytes are kept already. */
export function addPieces(list: NodeList, pieces: readonly ImaPiece[]): void {
  list.index = indexWith(list.index, pieces);
  list.sealed += bytesOf(pieces);
}

function indexWith(index: Buffer, pieces: readonly ImaPiece[]): Buffer {
  return pieces.length === 0 ? index : Buffer.concat([index, imaIndex(pieces).subarray(imaIndexHead.length)]);
}

/** To be written with the answer. */
export function noted({ unwritten }: NodeList, pieces: readonly Blob[]): readonly ImaPiece[] {
  return pieces.map(({ digest, bytes }) => {
    unwritten.set(digest, bytes);
    return { digest, bytes: bytes.length };
  });
}

export function named(bytes: Buffer): Blob {
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

export function bytesOf(pieces: readonly ImaPiece[]): number {
  return pieces.reduce((sum, { bytes }) => sum + bytes, 0);
}

export function sizeOf(chunks: readonly Buffer[]): number {
  return chunks.reduce((sum, { length }) => sum + length, 0);
}

/**
 * Neighbours that fit into one piece become one, in memory of their own. Attack: pieces of one byte, each of which holds all
 * that came from the network together with it.
 */
export function joined(came: readonly Buffer[], pieces: readonly Buffer[]): readonly Buffer[] {
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
export function* cut(
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
export function bytesBetween(chunks: readonly Buffer[], from: number, to: number): Buffer {
  return Buffer.concat(viewsFrom(chunks, from), to - from);
}

export function viewsFrom(chunks: readonly Buffer[], from: number): readonly Buffer[] {
  let at = 0;
  return chunks.flatMap((chunk) => {
    const begin = Math.max(0, from - at);
    at += chunk.length;
    return begin < chunk.length ? [chunk.subarray(begin)] : [];
  });
}
