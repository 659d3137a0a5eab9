import type { PartName } from '../../attest-server/wire/evidence.ts';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import type { AskedSupplement } from '../../attest-server/wire/messages.ts';
import type { ArrivedSupplement, SupplementName } from '../../attest-server/wire/supplements.ts';

/**
 * Reads one thing of the machine, again for each answer. One that fails, by Unavailable or by an exception, or that is
 * late, costs what it reads and nothing else.
 */
export type Collector = PartCollector | FactsCollector | SupplementCollector;

interface BaseCollector<Value> {
  /** The part's name, or `host`: facts say by it what is unavailable. */
  readonly name: string;
  /** Milliseconds that an answer waits for it; default 250. */
  readonly within?: number;
  /** @param signal ends the reading: nobody waits for it any more */
  read(sysroot: string, signal: AbortSignal): Promise<Value | Unavailable>;
}

/** Null if the machine has no such thing, which is a fact. */
export interface PartCollector extends Omit<BaseCollector<Buffer | null>, 'read'> {
  readonly part: PartName;
  readonly supplement?: never;
  /** A part that grows is read after the quote, so that nothing that the quote covers is missing; any other is read before. */
  readonly after?: 'quote';
  /** The fault to log if the machine has no such thing. */
  readonly missing?: { readonly code: string; readonly text: string };
  read(sysroot: string, signal: AbortSignal, asked?: AskedParts): Promise<Buffer | null | Unavailable>;
}

/** Words of a challenge on the parts that it asks for. */
export interface AskedParts {
  /** Paths that the policy protects, which the part of the disks is about; default none. */
  readonly paths?: readonly string[];
  /** Whether the server knows the member `local` of the part of the firewall; default false. */
  readonly local?: boolean;
}

export interface FactsCollector extends BaseCollector<HostFacts> {
  readonly part: null;
  readonly supplement?: never;
}

/** Evidence that a server asks for after an answer, from where it has it; null if the machine has none. */
export interface SupplementCollector extends Omit<BaseCollector<FoundSupplement | null>, 'read'> {
  readonly part: null;
  readonly supplement: SupplementName;
  /** As with a part. */
  readonly after?: 'quote';
  /** A part that it could not read is reported also with answers that do not ask for it. */
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
