import type { PartName } from '../../attest-server/protocol/evidence.ts';
import type { HostFacts } from '../../attest-server/protocol/facts.ts';
import type { AskedImage, AskedList } from '../../attest-server/protocol/messages.ts';

/**
 * Reads one thing of the machine, anew for each answer. One that fails, by Unavailable or by an exception, or that is
 * late, costs what it reads and nothing else.
 */
export type Collector = PartCollector | FactsCollector | FileCollector | ListCollector | ImageCollector;

interface Reads<Value> {
  /** The part's name, or `host`: facts say by it what is unavailable. */
  readonly name: string;
  /** Milliseconds that an answer waits for it; default 250. */
  readonly within?: number;
  /** @param signal ends the reading: nobody waits for it any more */
  read(sysroot: string, signal: AbortSignal): Promise<Value | Unavailable>;
}

/** Null where the machine has no such thing, which is a fact. */
export interface PartCollector extends Omit<Reads<Buffer | null>, 'read'> {
  readonly part: PartName;
  readonly by?: never;
  /** What grows is read after the quote, so that nothing that the quote covers is missing; else it is read before. */
  readonly after?: 'quote';
  /** What may be wrong where the machine has no such thing, for the log. */
  readonly missing?: { readonly code: string; readonly text: string };
  /**
   * @param paths that the policy protects: the part of the disks is about these
   * @param takesLocal whether the server knows the member `local` of the part of the firewall
   */
  read(
    sysroot: string,
    signal: AbortSignal,
    paths?: readonly string[],
    takesLocal?: boolean,
  ): Promise<Buffer | null | Unavailable>;
}

export interface FactsCollector extends Reads<HostFacts> {
  readonly part: null;
  readonly by?: never;
}

/** Files that a server asks for by their digests; with those that were found, why others could not be looked at. */
export interface FileCollector extends Omit<Reads<FoundFiles>, 'read'> {
  readonly part: null;
  readonly by: 'digest';
  read(sysroot: string, signal: AbortSignal, digests: readonly string[]): Promise<FoundFiles | Unavailable>;
}

export interface FoundFiles {
  readonly files: readonly Buffer[];
  /** Null where every place could be looked at. */
  readonly unread: string | null;
}

/** A list that only grows: a server asks for it from where it has it. Read after the quote; null where the machine has none. */
export interface ListCollector extends Omit<Reads<FoundList | null>, 'read'> {
  readonly part: null;
  readonly by: 'offset';
  read(sysroot: string, signal: AbortSignal, asked: AskedList): Promise<FoundList | null | Unavailable>;
}

/** The initrd that a server asks for by its digest, from where it has it. */
export interface ImageCollector extends Omit<Reads<FoundList>, 'read'> {
  readonly part: null;
  readonly by: 'image';
  read(sysroot: string, signal: AbortSignal, asked: AskedImage): Promise<FoundList | Unavailable>;
}

export interface FoundList {
  /** Bytes of it before these: those that were asked for, or 0 where it is another list than the one asked for. */
  readonly from: number;
  /** There is more of it. */
  readonly more: boolean;
  /** In order, none empty, of 1 MiB but the last. */
  readonly pieces: readonly Buffer[];
}

/** It could not be read, and why. */
export class Unavailable {
  readonly cause: string;

  constructor(cause: string) {
    this.cause = cause;
  }
}
