import type { AnsweredEvidence } from '../evidence/pack.ts';
import type { Parts } from '../protocol/evidence.ts';
import type { EvidenceMessage, PcrSelection } from '../protocol/messages.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { AttestationKey } from '../verify/attestation-key.ts';
import type { EndorsementPath } from '../verify/endorsement-path.ts';

/** The node that a connection is: its record's fields that judging needs, the key imported once. */
export interface AttestedNode {
  readonly name: string;
  readonly ekDigest: string;
  /** By the word of a root; absent where none is known. */
  readonly tpmClass?: TpmClass;
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly ak: AttestationKey;
  /** How a root vouches for the certificate that this connection showed. */
  readonly endorsementPath?: EndorsementPath | null;
}

/** One answer as it arrived, beside what the connection knows. */
export interface Answer {
  readonly evidence: EvidenceMessage;
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly helloDigest: string;
  readonly selection: PcrSelection;
  /** When it was challenged: milliseconds since the epoch. */
  readonly challengedAt: number;
  /** The parts that the evidence names, with the bytes that came with it. */
  readonly parts: Parts;
}

/** As it is kept: its parts by name, with the bytes that came. */
export function answeredEvidence({ evidence, nonce, channel, parts }: Answer): AnsweredEvidence {
  const { quotes, facts } = evidence;
  return { nonce, channel, quotes, facts, parts };
}
