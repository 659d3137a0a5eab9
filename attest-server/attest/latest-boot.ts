import { sameText } from '../evidence/kept-form.ts';
import { type EvidenceMessage, type PcrBank, pcrBanks } from '../protocol/messages.ts';
import type { Proven } from '../verify/proven.ts';
import type { QuoteEvidence } from '../verify/quote.ts';

type MessagePcrs = EvidenceMessage['quotes'][number]['pcrs'];

/** What a reference can be captured from: a node's latest proof without what only its judgement needed. */
export interface LatestBoot extends Pick<Proven, 'akName' | 'banks' | 'boot'> {
  /** The PCR values as they arrived in a message of one quote: the same text again needs no second look. */
  readonly pcrs: MessagePcrs | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly resetCount: number;
  /** How often the values moved within this boot. */
  readonly moved: number;
}

/** Keeps what did not change since the proof before; the verifier gives the same banks again where they held still. */
export function latestBoot(
  { akName, banks, boot, clock: { resetCount } }: Proven,
  { quotes }: EvidenceMessage,
  at: number,
  before: LatestBoot | undefined,
): LatestBoot {
  const arrived = quotes.length === 1 ? (quotes[0]?.pcrs ?? null) : null;
  const again = arrived !== null && before?.pcrs != null && sameText(arrived, before.pcrs);
  const moved = before?.resetCount === resetCount ? before.moved + (before.banks === banks ? 0 : 1) : 0;
  return { akName, banks, boot, pcrs: again ? before.pcrs : arrived, at, resetCount, moved };
}

/** The quotes of a message, from base64. */
export function quotesOf({ quotes }: Pick<EvidenceMessage, 'quotes'>): QuoteEvidence[] {
  return quotes.map(({ attest, signature, pcrs }) => ({
    attest: Buffer.from(attest, 'base64'),
    signature: Buffer.from(signature, 'base64'),
    pcrs: decoded(pcrs),
  }));
}

function decoded(pcrs: MessagePcrs): QuoteEvidence['pcrs'] {
  const values: Partial<Record<PcrBank, Buffer>> = {};
  for (const bank of pcrBanks) {
    const text = pcrs[bank];
    if (text !== undefined) values[bank] = Buffer.from(text, 'base64');
  }
  return values;
}
