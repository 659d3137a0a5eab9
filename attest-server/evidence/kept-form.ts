import { hash } from 'node:crypto';
import type { Answer } from '../attest/answer.ts';
import type { Bundle } from '../protocol/bundle.ts';
import { type PcrBank, pcrBanks } from '../protocol/messages.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';

/** What is kept of one attestation: the parts as received, and digests for what many share. */
export interface Kept extends Partial<Keys> {
  readonly at: number;
  readonly node: string;
  /** Digest of `Keys`; evidence of before this was so carries them itself. */
  readonly keys?: string;
  readonly nonce: string;
  readonly channel: string;
  /** `pcrs` are the values, or the digest of values that came before. */
  readonly quotes: readonly {
    readonly attest: string;
    readonly signature: string;
    readonly pcrs: Pcrs | string;
  }[];
  /** Per bank the bitmap of the quoted PCRs. */
  readonly masks: Partial<Record<PcrBank, number>>;
  readonly facts: string;
  readonly bootLog: string | null;
  /** Digest of what user space measured after it. */
  readonly userspaceLog?: string;
  /** Whether the node had sent a log before: leaving it out is judged by that. */
  readonly sentBootLog: boolean;
  readonly tpmClass?: TpmClass;
  /** Those by which a group of the policy chooses; absent where there are none. */
  readonly labels?: Readonly<Record<string, string>>;
  /** What the counters were compared with. */
  readonly previous?: Bundle['previous'];
  readonly policy: string;
  readonly references: string;
}

/** Who signs: the same in each answer of a node, so a blob of its own. */
export interface Keys {
  readonly attestationKey: string;
  readonly endorsement: {
    readonly publicArea: string;
    readonly certificate: string | null;
    /** With the root below: how it vouches for the certificate, where one does. */
    readonly chain?: string[];
  };
  /** PEM */
  readonly roots?: string[];
}

export type Pcrs = Answer['evidence']['quotes'][number]['pcrs'];

/** A content-addressed blob of the store. */
export interface Blob {
  /** SHA-256, hex. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** Null where the digest is that of something else that is kept: a log, a policy. */
export function parseKept(bytes: Buffer): Kept | null {
  try {
    const kept: Kept | null = JSON.parse(bytes.toString('utf8'));
    return typeof kept?.nonce === 'string' && Array.isArray(kept.quotes) ? kept : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** When an answer came, and the digests of what it names; null for bytes that are no kept answer. */
export function namedDigests(
  bytes: Buffer,
): { readonly at: number; readonly digests: readonly string[] } | null {
  const kept = parseKept(bytes);
  if (kept === null) return null;
  const values = kept.quotes.map(({ pcrs }) => (typeof pcrs === 'string' ? pcrs : null));
  const all = [kept.keys, kept.bootLog, kept.userspaceLog, kept.policy, kept.references, ...values];
  return { at: kept.at, digests: all.flatMap((digest) => digest ?? []) };
}

export function blob(content: string | Buffer): Blob {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

/** Whether PCR values are written as they were before. */
export function sameText(pcrs: Pcrs, before: Pcrs): boolean {
  return pcrBanks.every((bank) => pcrs[bank] === before[bank]);
}
