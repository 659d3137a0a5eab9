import { hash } from 'node:crypto';
import { type Quote, type QuoteRequest, ToolError } from 'node-tpm2';
import { nonceBytes, qualifyingData } from '../attest-server/protocol/binding.ts';
import type { HostFacts } from '../attest-server/protocol/facts.ts';
import {
  binaryFrame,
  type Challenge,
  type ErrorMessage,
  type EvidenceMessage,
  type PcrBank,
  pcrBanks,
} from '../attest-server/protocol/messages.ts';
import { Rejection } from '../attest-server/protocol/rejection.ts';
import type { Frame } from './channel.ts';
import type { BootLog } from './collectors/boot-log.ts';

/** What of a TPM seals evidence: node-tpm2's `Tpm` has it. */
export interface QuotingTpm {
  quote(request: QuoteRequest): Promise<Quote>;
}

/** What the node says in this answer, and on which connection. */
export interface Situation {
  readonly node: string;
  readonly bootId: string;
  readonly host: HostFacts | null;
  readonly bootLog: BootLog | null;
  /** Reads what user space measured; asked for after the quote, so that nothing that the quote covers is missing. */
  readonly readUserSpaceLog?: () => Promise<Buffer | null>;
  /** The connection's exporter value, 32 bytes. */
  readonly channel: Buffer;
  /** SHA-256 of the hello frame, hex. */
  readonly helloDigest: string;
}

/** Repeats after a first quote that a PCR moved under. */
const repeats = 3;

/** The answer where the PCRs do not hold still: `evidence_raced` alone. */
export const raced: readonly Frame[] = [
  JSON.stringify({ type: 'error', code: 'evidence_raced' } satisfies ErrorMessage),
];

/**
 * The frames that answer a challenge: the boot log if the server does not hold it, then the evidence, sealed by one
 * quote; or `raced`.
 * @throws ToolError of the quote; Rejection `malformed` for a nonce of another length
 */
export async function answer(
  challenge: Challenge,
  situation: Situation,
  tpm: QuotingTpm,
): Promise<readonly Frame[]> {
  const nonce = Buffer.from(challenge.nonce, 'base64');
  if (nonce.length !== nonceBytes)
    throw new Rejection('malformed', `a nonce of ${nonce.length} bytes`, { field: 'nonce' });
  const { bootLog, channel } = situation;
  const facts = factsText(challenge.purpose, situation);
  const sealed = qualifyingData({
    nonce,
    channel,
    facts: Buffer.from(hash('sha256', facts, 'hex'), 'hex'),
    bootLog: Buffer.from(bootLog?.digest ?? '', 'hex'),
    keyRequest: Buffer.alloc(0),
  });
  const quote = await quoteInPeace(tpm, {
    qualifyingData: Buffer.from(sealed, 'hex'),
    selection: challenge.selection,
  });
  if (quote === null) return raced;
  const userSpaceLog = (await situation.readUserSpaceLog?.()) ?? null;
  const evidence: EvidenceMessage = {
    type: 'evidence',
    nonce: challenge.nonce,
    channel: channel.toString('base64'),
    quotes: [
      {
        attest: quote.attest.toString('base64'),
        signature: quote.signature.toString('base64'),
        pcrs: encodePcrs(quote),
      },
    ],
    facts,
    bootLog: bootLog?.digest ?? null,
    ...(userSpaceLog && { userspaceLog: userSpaceLog.toString('base64') }),
  };
  const isHeld = bootLog === null || challenge.holds.includes(bootLog.digest);
  return [...(isHeld ? [] : [binaryFrame('bootLog', bootLog.bytes)]), JSON.stringify(evidence)];
}

/** One JSON object; what ties it to the conversation comes first. */
function factsText(
  purpose: Challenge['purpose'],
  { node, bootId, helloDigest, host }: Pick<Situation, 'node' | 'bootId' | 'helloDigest' | 'host'>,
): string {
  return JSON.stringify({ purpose, node, bootId, helloDigest, ...(host && { host }) });
}

/** Null where a selected PCR was extended during every attempt: the nonce is still unanswered. */
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
