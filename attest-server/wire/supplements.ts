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
  /** Of one frame of it, and how many of these one answer may bring. */
  readonly piece: number;
  readonly pieces: number;
  /** Of one answer: at first, and at most; it is more where one was quick and did not bring all. */
  readonly first: number;
  readonly most: number;
  /** Whether a connection is asked for it that has not proven itself. */
  readonly ofStrangers?: true;
  /** What of it comes is read at once, and not in steps. */
  readonly isReadAtOnce?: true;
  /** An answer may bring it from its begin, though more of it was known: it is that of another boot. */
  readonly mayBeginAgain?: true;
  /** So many nodes send it at once that whoever sends more than at first needs one of a few places. */
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

/** Of any of them: frames, and bytes, that one answer may bring. */
export const mostPieces = Math.max(...supplementNames.map((name) => supplementForms[name].pieces));
export const mostInAnswer = Math.max(...supplementNames.map((name) => supplementForms[name].most));

/** What of a supplement a node is to send next. */
export interface SupplementPlace {
  /** Which things, by digest, hex; none where the node has one alone. */
  readonly of: readonly string[];
  /** Bytes of it that the server has. */
  readonly from: number;
  /** The boot that these are of; null where any will do. */
  readonly bootId: string | null;
}

/** What came of a supplement with one answer. */
export interface ArrivedSupplement {
  /** Bytes of it before these, by the agent's word. */
  readonly from: number;
  /** There is more of it on the node. */
  readonly more: boolean;
  /** In order. */
  readonly pieces: readonly Buffer[];
}

/** What one challenge asked for of a supplement, and what its answer brought. */
export interface AnsweredSupplement {
  /** Null where the challenge asked for none, though its agent understands that. */
  readonly asked: SupplementPlace | null;
  /** Null where nothing of it came. */
  readonly came: ArrivedSupplement | null;
}

/** By name; one that is left out cannot be asked for, since the agent does not understand it. */
export type AnsweredSupplements = Readonly<Partial<Record<SupplementName, AnsweredSupplement>>>;
export type SupplementPlaces = Readonly<Partial<Record<SupplementName, SupplementPlace>>>;
