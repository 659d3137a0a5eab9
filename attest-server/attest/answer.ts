import type { AnsweredEvidence } from '../evidence/pack.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { AttestationKey } from '../verify/attestation-key.ts';
import type { EndorsementPath } from '../verify/endorsement-paths.ts';
import type { QuoteEvidence } from '../verify/quote.ts';
import type { Evidence, ExpectedIdentity } from '../verify/verify.ts';
import type { Parts } from '../wire/evidence.ts';
import { type EvidenceMessage, type PcrBank, type PcrSelection, pcrBanks } from '../wire/messages.ts';
import { purposeOf, type Role } from '../wire/roles.ts';
import { type AnsweredSupplements, supplementForms } from '../wire/supplements.ts';
import type { GivenSupplement, KeptSupplement } from './supplements/supplement.ts';

/** The node that a connection is: its record's fields that judging needs, the key imported once. */
export interface AttestedNode {
  readonly name: string;
  readonly ekDigest: string;
  /** As a root says; absent if none is known. */
  readonly tpmClass?: TpmClass;
  readonly ekPublicArea: Buffer;
  /** How its key became a node; absent: nobody vouches for it. */
  readonly bound?: EnrolmentMethod;
  readonly ekCertificate: Buffer | null;
  readonly ak: AttestationKey;
  /** How a root vouches for the certificate with which it is enrolled; asked once an answer is proven. */
  readonly endorsementPath?: () => EndorsementPath | null;
  /** Banks that its TPM had when it was enrolled; null if that is not known. */
  readonly banks: readonly PcrBank[] | null;
}

/** One answer as it arrived, beside what the connection knows. */
export interface Answer {
  /** Whose connection it is. */
  readonly by: Role;
  readonly evidence: EvidenceMessage;
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly helloDigest: string;
  readonly selection: PcrSelection;
  /** When it was challenged: milliseconds since the epoch. */
  readonly challengedAt: number;
  /** The parts that the evidence names, with the bytes that came with it. */
  readonly parts: Parts;
  /** The bytes of the key request that its quote signs. */
  readonly keyRequest?: Buffer | undefined;
  /** Where its connection comes from. */
  readonly address?: string;
  /** Supplements that were asked for and came. */
  readonly supplements?: AnsweredSupplements;
}

/** Supplements that the server adds to an answer: null if nothing is known of one. */
export type GivenSupplements = readonly (GivenSupplement | null)[];

/** As it is kept: its parts by name, with the bytes that came. */
export function answeredEvidence(
  { evidence, nonce, channel, keyRequest, parts }: Answer,
  supplements: readonly KeptSupplement[],
): AnsweredEvidence {
  const { quotes, facts } = evidence;
  return { nonce, channel, keyRequest, quotes, facts, parts: partsWith(parts, supplements), supplements };
}

/** With the parts that list what is kept of supplements. */
export function partsWith(parts: Parts, supplements: readonly KeptSupplement[]): Parts {
  let all = parts;
  for (const { name, part } of supplements) all = { ...all, [name]: part };
  return all;
}

/** As it is verified. @param parts those of the answer, with the bytes of all that need some */
export function evidenceWith(
  parts: Parts,
  given: GivenSupplements,
): Pick<Evidence, 'parts' | 'files' | 'ima'> {
  let evidence: Pick<Evidence, 'parts' | 'files' | 'ima'> = { parts };
  for (const one of given) {
    if (one === null) continue;
    const { name, part, files, list } = one;
    if (part !== null) evidence = { ...evidence, parts: { ...evidence.parts, [name]: part } };
    if (files.size > 0) evidence = { ...evidence, files: new Map([...(evidence.files ?? []), ...files]) };
    if (list !== undefined) evidence = { ...evidence, ima: list };
  }
  return evidence;
}

/** The list by itself, and the other parts: an agent of 0.3.0 sends it as the part `ima`, from its begin. */
export function withListApart(answer: Answer): Answer {
  if (answer.parts.ima === undefined) return answer;
  const { ima, ...parts } = answer.parts;
  const { ima: answered, ...others } = answer.supplements ?? {};
  if (ima.bytes === null || answered?.came != null) return { ...answer, parts };
  const asked = answered?.asked ?? { of: [], from: 0, bootId: null };
  const came = { from: 0, more: false, pieces: [ima.bytes] };
  return { ...answer, parts, supplements: { ...others, ima: { asked, came } } };
}

/** Digests of its parts, and of all that these list. */
export function namedBy(parts: Parts, supplements: readonly KeptSupplement[]): readonly string[] {
  const named = Object.values(parts).map(({ digest }) => digest);
  const listed = supplements.flatMap(({ name, part: { digest, bytes } }) => [
    digest,
    ...(bytes === null ? [] : supplementForms[name].listed(bytes)),
  ]);
  return [...named, ...listed];
}

/** The identity that a good answer of this node shows. */
export function expectedOf(node: AttestedNode, answer: Answer): ExpectedIdentity {
  const { by, nonce, channel, keyRequest, helloDigest, selection, evidence } = answer;
  return {
    ak: node.ak,
    ekDigest: node.ekDigest,
    judgeHierarchy: true,
    binding: {
      nonce,
      channel,
      claimedChannel: Buffer.from(evidence.channel, 'base64'),
      keyRequest,
      session: { node: node.name, helloDigest, purpose: purposeOf(by) },
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
