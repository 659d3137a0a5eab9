import type { EarlierVerdict, OurChange } from '../formats/our-change.ts';
import type { PartName } from '../wire/evidence.ts';

/**
 * By what a node was last found trusted, and what these rules say of it while those in force do not trust it. Once they find it
 * wrong, too, nothing of this is kept until it is trusted again.
 */
export interface TrustedBy {
  /** Digests of the texts of policy and references, as they are kept beside evidence. */
  readonly policy: string;
  readonly references: string;
  /** `name@revision` of that policy. */
  readonly named: string;
  /** The group of that policy by which it was judged. */
  readonly group: string;
  /** Of the server that judged; empty: of one that did not say. */
  readonly version: string;
  /** `measuredDigest` of that answer, and SHA-256 of what the host said of its boot; null: not known. */
  readonly measured: string | null;
  readonly host: string | null;
  /** Names of the references that affirmed it. */
  readonly affirmedBy: readonly string[];
  /** Null while it is trusted, and if nothing of ours has changed since. */
  readonly turned: Turned | null;
}

/** A verdict that another policy, other references or another server made of a node that was trusted. */
export interface Turned {
  readonly as: EarlierVerdict;
  readonly change: OurChange;
  /** The change in a few words, the same for all nodes that it turned: `policy strict@e25b…`, `references NAME, NAME`. */
  readonly by: string;
  /** References that are revoked or not in force any more since then; eight at most are named. */
  readonly left: readonly string[];
  /** When it turned, milliseconds since the epoch. */
  readonly at: number;
  /** The failing aspects are judged from the same evidence as when the node was last trusted. */
  readonly isSame: boolean;
  /** Parts that it had shown then; null: not known. */
  readonly shown: {
    readonly parts: Readonly<Partial<Record<PartName, string>>>;
    readonly resetCount: number | null;
    readonly restartCount: number | null;
    readonly bootId: string | null;
  } | null;
  /** Memory of the aspects by the earlier rules, apart from that of the active ones. */
  readonly memory: Readonly<Record<string, unknown>>;
}
