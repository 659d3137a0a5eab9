import type { PartName } from './evidence.ts';
import { imaIndexHead, parseImaIndex } from './ima-pieces.ts';
import { initrdListHead, parseInitrdList } from './initrd-list.ts';
import { limits } from './limits.ts';
import { fileListHead, parseFileList } from './loader-files.ts';

/** Long kinds of evidence, each by the part that lists what is kept of it: the server asks for them after an answer. */
export const supplementNames = ['loaderFiles', 'initrds', 'ima'] as const satisfies readonly PartName[];
export type SupplementName = (typeof supplementNames)[number];

/** How a supplement is listed, and how much of it may come with one answer. Sizes are in bytes. */
export interface SupplementForm {
  /** With which its part begins. */
  readonly head: string;
  /** SHA-256 digests of what the part lists. @throws Rejection `malformed`, `too_large` */
  listed(part: Buffer): readonly string[];
  /** The bytes of one frame of it, and how many frames one answer may bring. */
  readonly piece: number;
  readonly pieces: number;
  /** The bytes of one answer: at first, and at most; it is more if one was quick and did not bring all. */
  readonly first: number;
  readonly most: number;
  /** Whether a connection is asked for it that has not proven itself. */
  readonly ofStrangers?: true;
  /** Its bytes are read at once, not in steps. */
  readonly isReadAtOnce?: true;
  /** An answer may bring it from its start, though more of it was known: it is that of another boot. */
  readonly mayBeginAgain?: true;
  /** Whether a node that sends more than at first needs one of a few slots, since so many send it at once. */
  readonly takesPlace?: true;
}

export const supplementForms: Readonly<Record<SupplementName, SupplementForm>> = {
  loaderFiles: {
    head: fileListHead,
    listed: parseFileList,
    piece: limits.loaderFiles.each,
    pieces: limits.filesInAnswer.count + limits.filesInAnswer.blocks,
    first: limits.filesInAnswer.bytes,
    most: limits.filesInAnswer.bytes,
    isReadAtOnce: true,
  },
  initrds: {
    head: initrdListHead,
    listed: parseInitrdList,
    piece: limits.initrd.piece,
    pieces: limits.initrd.pieces,
    first: limits.initrd.piece,
    most: limits.initrd.inAnswer,
  },
  ima: {
    head: imaIndexHead,
    listed: (part) => parseImaIndex(part).map(({ digest }) => digest),
    piece: limits.ima.piece,
    pieces: limits.ima.pieces,
    first: limits.parts.ima,
    most: limits.ima.inAnswer,
    ofStrangers: true,
    mayBeginAgain: true,
    takesPlace: true,
  },
};

/** The most of any of them that one answer may bring: frames, and bytes. */
export const mostPieces = Math.max(...supplementNames.map((name) => supplementForms[name].pieces));
export const mostInAnswer = Math.max(...supplementNames.map((name) => supplementForms[name].most));

/** The piece of a supplement that a node is to send next. */
export interface SupplementPlace {
  /** Which things, by digest, hex; none if the node has one alone. */
  readonly of: readonly string[];
  /** Bytes of it that the server has. */
  readonly from: number;
  /** The boot that these are of; null if any will do. */
  readonly bootId: string | null;
}

/** The outcome of a supplement in one answer. */
export interface ArrivedSupplement {
  /** Bytes of it before these, by the agent's word. */
  readonly from: number;
  /** There is more of it on the node. */
  readonly more: boolean;
  /** In order. */
  readonly pieces: readonly Buffer[];
}

/** The request of one challenge for a supplement, and what its answer brought. */
export interface AnsweredSupplement {
  /** Null if the challenge asked for none, though its agent understands that. */
  readonly asked: SupplementPlace | null;
  /** Null if nothing of it came. */
  readonly came: ArrivedSupplement | null;
}

/** By name; one that is left out cannot be asked for, since the agent does not understand it. */
export type AnsweredSupplements = Readonly<Partial<Record<SupplementName, AnsweredSupplement>>>;
export type SupplementPlaces = Readonly<Partial<Record<SupplementName, SupplementPlace>>>;
