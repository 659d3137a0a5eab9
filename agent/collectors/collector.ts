import type { PartName } from '../../attest-server/wire/evidence.ts';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import type { AskedSupplement } from '../../attest-server/wire/messages.ts';
import type { ArrivedSupplement, SupplementName } from '../../attest-server/wire/supplements.ts';

/**
 * Reads one thing of the machine, anew for each answer. One that fails, by Unavailable or by an exception, or that is
 * late, costs what it reads and nothing else.
 */
export type Collector = PartCollector | FactsCollector | SupplementCollector;

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
  readonly supplement?: never;
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
  readonly supplement?: never;
}

/** What a server asks for after an answer, from where it has it; null where the machine has none. */
export interface SupplementCollector extends Omit<Reads<FoundSupplement | null>, 'read'> {
  readonly part: null;
  readonly supplement: SupplementName;
  /** As with a part. */
  readonly after?: 'quote';
  /** What it could not read is said also with answers that it is not asked for. */
  readonly faultStays?: true;
  read(
    sysroot: string,
    signal: AbortSignal,
    asked: AskedSupplement,
  ): Promise<FoundSupplement | null | Unavailable>;
}

/** No piece is empty, or longer than `supplementForms` says. */
export interface FoundSupplement extends ArrivedSupplement {
  /** Why more of it could not be looked at. */
  readonly unread?: string | null;
}

/** It could not be read, and why. */
export class Unavailable {
  readonly cause: string;

  constructor(cause: string) {
    this.cause = cause;
  }
}
