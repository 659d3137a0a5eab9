import type { ArrivedIma } from '../channel/arrived-pieces.ts';
import type { AnsweredEvidence } from '../evidence/pack.ts';
import type { Part, Parts } from '../protocol/evidence.ts';
import { parseImaIndex } from '../protocol/ima-pieces.ts';
import {
  type EvidenceMessage,
  type PcrBank,
  type PcrSelection,
  pcrBanks,
  type Role,
} from '../protocol/messages.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { AttestationKey } from '../verify/attestation-key.ts';
import type { EndorsementPath } from '../verify/endorsement-paths.ts';
import type { QuoteEvidence } from '../verify/quote.ts';
import type { Evidence, Expected } from '../verify/verify.ts';
import type { KeptIma } from './ima-lists.ts';
import type { GivenInitrds, ImageAnswer } from './initrds.ts';

/** The node that a connection is: its record's fields that judging needs, the key imported once. */
export interface AttestedNode {
  readonly name: string;
  readonly ekDigest: string;
  /** As a root says; absent where none is known. */
  readonly tpmClass?: TpmClass;
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly ak: AttestationKey;
  /** How a root vouches for the certificate with which it is enrolled; asked once an answer is proven. */
  readonly endorsementPath?: () => EndorsementPath | null;
  /** That its TPM had when it was enrolled; null where that is not known. */
  readonly banks: readonly PcrBank[] | null;
}

/** One answer as it arrived, beside what the connection knows. */
export interface Answer {
  /** Whose connection it is; default the agent's. */
  readonly by?: Role;
  readonly evidence: EvidenceMessage;
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly helloDigest: string;
  readonly selection: PcrSelection;
  /** When it was challenged: milliseconds since the epoch. */
  readonly challengedAt: number;
  /** The parts that the evidence names, with the bytes that came with it. */
  readonly parts: Parts;
  /** IMA's list from where it was asked for; null where nothing of it came, absent where it was not asked for. */
  readonly ima?: ArrivedIma | null | undefined;
  /** Of the files of its loader that the node was asked for; absent where it cannot be. */
  readonly files?: {
    /** Digests; null where it does not understand to be asked. */
    readonly asked: readonly string[] | null;
    readonly came: readonly Buffer[];
  };
  /** Of the initrd that it was asked for; absent where it cannot be. */
  readonly initrd?: ImageAnswer;
}

/** Files that explain what a node's loader read. */
export interface GivenFiles {
  /** The part that lists them; null where none is known. */
  readonly list: Part | null;
  /** By SHA-256, with bytes where the verifier needs them. */
  readonly files: ReadonlyMap<string, Buffer>;
}

/** What the server adds to an answer: it says what the digests are that the node's loader measured. */
export interface Given {
  readonly loader: GivenFiles;
  readonly initrds: GivenInitrds;
}

/** As it is kept: its parts by name, with the bytes that came. */
export function answeredEvidence(
  { evidence, nonce, channel, parts }: Answer,
  given: Given,
  ima: KeptIma | null,
): AnsweredEvidence {
  const { quotes, facts } = evidence;
  return { nonce, channel, quotes, facts, ...withGiven(parts, given), ima };
}

/** As it is verified. @param parts those of the answer, with the bytes of all that need some */
export function withGiven(
  parts: Parts,
  { loader, initrds }: Given,
): Required<Pick<Evidence, 'parts' | 'files'>> {
  const all =
    loader.list === null && initrds.list === null
      ? parts
      : {
          ...parts,
          ...(loader.list !== null && { loaderFiles: loader.list }),
          ...(initrds.list !== null && { initrds: initrds.list }),
        };
  const { manifests } = initrds;
  return {
    parts: all,
    files: manifests.size === 0 ? loader.files : new Map([...loader.files, ...manifests]),
  };
}

/** The list by itself, and the other parts: an agent of 0.3.0 sends it as the part `ima`, from its begin. */
export function withListApart({ parts: { ima, ...others }, ima: arrived }: Answer): {
  readonly parts: Parts;
  readonly arrived: Answer['ima'];
} {
  const bytes = ima?.bytes ?? null;
  if (bytes === null || arrived != null) return { parts: others, arrived };
  return { parts: others, arrived: { from: 0, more: false, pieces: [bytes] } };
}

/** The answer with what is kept of its list, by which the list is found again. */
export function withIndex(answer: Answer, kept: KeptIma | null): Answer {
  return kept === null ? answer : { ...answer, parts: { ...answer.parts, ima: kept.part } };
}

/** Digests of its parts, and of pieces of IMA's list. */
export function namedBy(parts: Parts, ima: KeptIma | null): readonly string[] {
  const named = Object.values(parts).map(({ digest }) => digest);
  const index = ima?.part;
  if (index?.bytes == null) return named;
  return [...named, index.digest, ...parseImaIndex(index.bytes).map(({ digest }) => digest)];
}

/** What a good answer of this node shows. */
export function expectedOf(node: AttestedNode, answer: Answer): Expected {
  const { nonce, channel, helloDigest, selection, evidence } = answer;
  return {
    ak: node.ak,
    ekDigest: node.ekDigest,
    judgeHierarchy: true,
    binding: {
      nonce,
      channel,
      claimedChannel: Buffer.from(evidence.channel, 'base64'),
      session: { node: node.name, helloDigest, purpose: 'attest' },
    },
    selection,
  };
}

/** The quotes of a message, from base64. */
export function quotesOf(quotes: EvidenceMessage['quotes']): QuoteEvidence[] {
  return quotes.map(({ attest, signature, pcrs }) => ({
    attest: Buffer.from(attest, 'base64'),
    signature: Buffer.from(signature, 'base64'),
    pcrs: decoded(pcrs),
  }));
}

function decoded(pcrs: EvidenceMessage['quotes'][number]['pcrs']): QuoteEvidence['pcrs'] {
  const values: Partial<Record<PcrBank, Buffer>> = {};
  for (const bank of pcrBanks) {
    const text = pcrs[bank];
    if (text !== undefined) values[bank] = Buffer.from(text, 'base64');
  }
  return values;
}
