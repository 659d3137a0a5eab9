import type { ReasonCode } from '../../wire/reasons.ts';

/** For the compiler alone, as in proven.ts. */
declare class ListSeal {
  protected readonly replayed: never;
}

/**
 * IMA's list as far as the quoted PCR 10 confirms it, in each quoted bank that has it: only `verify` makes one. Entries that
 * came after the quote are left for the next answer.
 */
export interface ProvenImaList extends ListSeal {
  /** Names the list up to here, as no other list can: `<bank>:<PCR 10 in hex>`, of the best bank quoted. */
  readonly head: string;
  /** Entries, and bytes of the binary form, from the list's start up to here. */
  readonly entries: number;
  readonly bytes: number;
  /** Entries that a rule's `pcr=` put into another PCR than 10: nothing is proven of them, and `walk` leaves them out. */
  readonly elsewhere: number;
  /** The `head` that was proven before this answer, from where `walk` goes on; null: it begins with the list. */
  readonly since: string | null;
  /** Number of the first entry that `walk` visits. */
  readonly firstAdded: number;
  /** Visits the entries that this answer adds, in order. */
  walk(visit: (entry: ImaEntry) => void): void;
  /** The same, and stops after each step of about this many entries, for whoever must let others go on. */
  walkInSteps(visit: (entry: ImaEntry) => void, entries: number): Iterable<void>;
  /** Mappings of the device mapper by the kernel's critical data, up to here; empty if it measures none. */
  readonly mappings: readonly MeasuredMapping[];
  /**
   * Whether a kernel made this entry of PCRs when it started: named so, and the first one, of its digest, or of that of the
   * quoted PCRs. Attack: a file is measured under that bare name, as the kernel names one whose path it cannot tell.
   */
  isBootAggregate(entry: Pick<ImaEntry, 'index' | 'algorithm' | 'digest' | 'nameBytes'>): boolean;
  /** Numbers of the entries `boot_aggregate`: one, and one more for each kernel that kexec started. */
  readonly aggregates: readonly number[];
}

/**
 * One measurement of the running kernel. It is valid within the call of `visit` alone: the same object is given again with
 * the next entry, and its buffers are views.
 */
export interface ImaEntry {
  /** Its number in the list, from 0. */
  readonly index: number;
  readonly pcr: number;
  readonly template: string;
  /** The kernel could not measure what it says: the file was written to meanwhile. It extends 0xff then. */
  readonly isViolation: boolean;
  /** The hash's name as the kernel writes it, such as `sha256`; "" where the template names none. */
  readonly algorithm: string;
  /** `ima`: of a file's bytes; `verity`: of its fs-verity digest. */
  readonly kind: 'ima' | 'verity';
  /** The digest of what was measured; empty if the template has none. */
  readonly digest: Buffer;
  /** A file's path, or what the kernel calls what it measured; decoded when it is asked for. */
  readonly name: string;
  /** The exact bytes of the name, without the NUL. */
  readonly nameBytes: Buffer;
  /** `security.ima` as the template carries it (ima-sig, ima-sigv2, ima-modsig); null if there is none. */
  readonly signature: Buffer | null;
  /** The appended signature of ima-modsig, PKCS#7, and the digest that it is over; null if there is none. */
  readonly appended: {
    readonly signature: Buffer;
    readonly algorithm: string;
    readonly digest: Buffer;
  } | null;
  /** The fields of evm-sig beside the path; null for other templates. */
  readonly evm: EvmFields | null;
  /** Measured data, of the template ima-buf: critical data, keys, a command line; null for files. */
  readonly data: Buffer | null;
}

/** Fields of the template evm-sig, security/integrity/ima/ima_template_lib.c. */
export interface EvmFields {
  /** `security.evm`, a portable signature. */
  readonly signature: Buffer;
  /** Names of the other extended attributes, and their values, in one order. */
  readonly attributes: readonly { readonly name: string; readonly value: Buffer }[];
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** A mapping of the device mapper as the kernel measured it last (critical data, drivers/md/dm-ima.c). */
export interface MeasuredMapping {
  readonly name: string;
  readonly uuid: string;
  readonly major: number;
  readonly minor: number;
  /** Number of the entry that says it. */
  readonly entry: number;
  /** `active` once a device was resumed with this table. */
  readonly state: 'loaded' | 'active' | 'removed';
  /**
   * No other table was ever loaded for these numbers, as far as is known of all that the kernel measured. Else the last one
   * that it told need not be in force: what it measured once it measures no second time in the same words.
   */
  readonly isOnlyTable: boolean;
  readonly targets: readonly MeasuredTarget[];
}

export interface MeasuredTarget {
  /** The type, such as `crypt`, `linear`, `verity`. */
  readonly type: string;
  /** In sectors. */
  readonly begin: bigint;
  readonly length: bigint;
  /** `cipher_string`, `key_size`, `root_digest`, …, as the target's driver writes them. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Why nothing of the list counts: it says something against the node, or leaves what is to be said open. */
export interface ImaProblem {
  readonly code: Extract<ReasonCode, 'ima_malformed' | 'ima_incomplete'>;
  /** A sentence for people, without a full stop at its end. */
  readonly text: string;
  /** Number of the entry, from 0; null if it is about the whole. */
  readonly entry: number | null;
  /**
   * Byte offset in the list, and the field there; null if it is about the whole. In a list of text, what is wrong with a
   * line counts in the text, and what is wrong with a field's bytes in the binary form.
   */
  readonly offset: number | null;
  readonly field: string | null;
}

export function isProvenList(list: ProvenImaList | ImaProblem | null): list is ProvenImaList {
  return list !== null && 'head' in list;
}
