import { hash } from 'node:crypto';
import type { Quote, QuoteRequest } from 'node-tpm2';
import { ToolError } from 'node-tpm2/run';
import { nonceBytes, qualifyingData } from '../attest-server/wire/binding.ts';
import type { PartName } from '../attest-server/wire/evidence.ts';
import type { Facts } from '../attest-server/wire/facts.ts';
import {
  binaryFrame,
  type Challenge,
  type ErrorMessage,
  type EvidenceMessage,
  type PcrBank,
  pcrBanks,
  supplementFrame,
} from '../attest-server/wire/messages.ts';
import { Rejection } from '../attest-server/wire/rejection.ts';
import type { Frame } from './channel.ts';
import type { CollectedEvidence, FoundSupplements } from './node-reader.ts';

/** The part of a TPM that seals evidence: node-tpm2's `Tpm` has it. */
export interface QuotingTpm {
  quote(request: QuoteRequest): Promise<Quote>;
}

/** The node's claims in this answer, and the connection that they are made on. */
export interface AnswerContext extends CollectedEvidence {
  readonly node: string;
  /** The connection's exporter value, 32 bytes. */
  readonly channel: Buffer;
  /** SHA-256 of the hello frame, hex. */
  readonly helloDigest: string;
  /** The bytes of a key request (wire/key-request.ts); default none. */
  readonly keyRequest?: Buffer | undefined;
}

/** Repeats after a first quote that a PCR moved under. */
const repeats = 3;

/** The answer where the PCRs do not hold still: `evidence_raced` alone. */
export const raced: readonly Frame[] = [
  JSON.stringify({ type: 'error', code: 'evidence_raced' } satisfies ErrorMessage),
];

/**
 * The frames that answer a challenge: the parts that the server does not hold, then the evidence, sealed by one quote;
 * or `raced`.
 * @throws ToolError of the quote; Rejection `malformed` for a nonce of another length
 */
export async function answer(
  challenge: Challenge,
  situation: AnswerContext,
  tpm: QuotingTpm,
): Promise<Iterable<Frame>> {
  const nonce = Buffer.from(challenge.nonce, 'base64');
  if (nonce.length !== nonceBytes)
    throw new Rejection('malformed', `a nonce of ${nonce.length} bytes`, { field: 'nonce' });
  const parts = partsOf(situation.parts);
  const facts = factsText(challenge, situation, parts);
  const sealed = qualifyingData({
    nonce,
    channel: situation.channel,
    facts: Buffer.from(hash('sha256', facts, 'hex'), 'hex'),
    bootLog: Buffer.from(parts.find(({ name }) => name === 'boot')?.digest ?? '', 'hex'),
    keyRequest: situation.keyRequest ?? Buffer.alloc(0),
  });
  const quote = await quoteInPeace(tpm, {
    qualifyingData: Buffer.from(sealed, 'hex'),
    selection: challenge.selection,
  });
  if (quote === null) return raced;
  const grown = await situation.readGrowing();
  const all = [...parts, ...partsOf(grown.parts)];
  const named: EvidenceMessage['parts'] = {};
  for (const { name, digest } of all) named[name] = { digest };
  const evidence: EvidenceMessage = {
    type: 'evidence',
    nonce: challenge.nonce,
    channel: situation.channel.toString('base64'),
    quotes: [
      {
        attest: quote.attest.toString('base64'),
        signature: quote.signature.toString('base64'),
        pcrs: encodePcrs(quote),
      },
    ],
    facts,
    parts: named,
    ...(situation.keyRequest !== undefined && { keyRequest: situation.keyRequest.toString('base64') }),
  };
  const found = new Map([...(situation.supplements ?? []), ...(grown.supplements ?? [])]);
  if (challenge.supplements !== undefined) evidence.supplements = saidOf(found);
  const missing = all.filter(({ digest }) => !challenge.holds.includes(digest));
  return framesOf(missing, found, challenge.files !== undefined, evidence);
}

function saidOf(found: FoundSupplements): NonNullable<EvidenceMessage['supplements']> {
  const said: NonNullable<EvidenceMessage['supplements']> = {};
  for (const [name, { from, more, pieces }] of found)
    said[name] = { from, more, pieces: pieces.map((bytes) => hash('sha256', bytes, 'hex')) };
  return said;
}

/** A frame is a copy of what it carries: of many, one is made at a time. @param asFiles to a server of 0.3.0 */
function* framesOf(
  parts: readonly PartEntry[],
  found: FoundSupplements,
  asFiles: boolean,
  evidence: EvidenceMessage,
): Iterable<Frame> {
  for (const { bytes } of parts) yield binaryFrame('part', bytes);
  for (const [name, { pieces }] of found)
    for (const piece of pieces) yield asFiles ? binaryFrame('file', piece) : supplementFrame(name, piece);
  yield JSON.stringify(evidence);
}

interface PartEntry {
  readonly name: PartName;
  readonly digest: string;
  readonly bytes: Buffer;
}

function partsOf(parts: ReadonlyMap<PartName, Buffer>): readonly PartEntry[] {
  return [...parts].map(([name, bytes]) => ({ name, digest: hash('sha256', bytes, 'hex'), bytes }));
}

/** One JSON object; what ties it to the conversation comes first. */
function factsText(
  challenge: Challenge,
  { node, bootId, helloDigest, host, unavailable }: AnswerContext,
  parts: readonly PartEntry[],
): string {
  const facts: Facts = { purpose: challenge.purpose, node, bootId, helloDigest };
  if (host !== null) facts.host = host;
  facts.parts = {};
  for (const { name, digest } of parts) if (name !== 'boot') facts.parts[name] = digest;
  if (Object.keys(unavailable).length > 0) facts.unavailable = { ...unavailable };
  return JSON.stringify(facts);
}

/** Null if a selected PCR was extended during every attempt: the nonce is still unanswered. */
async function quoteInPeace(tpm: QuotingTpm, request: QuoteRequest): Promise<Quote | null> {
  for (let attempt = 0; attempt <= repeats; attempt++) {
    try {
      return await tpm.quote(request);
    } catch (error) {
      if (!(error instanceof ToolError) || error.code !== 'pcrs_moved') throw error;
    }
  }
  return null;
}

function encodePcrs(quote: Quote): Partial<Record<PcrBank, string>> {
  const encoded: Partial<Record<PcrBank, string>> = {};
  for (const bank of pcrBanks) {
    const values = quote.pcrs[bank];
    if (values !== undefined) encoded[bank] = values.toString('base64');
  }
  return encoded;
}
