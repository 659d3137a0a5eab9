import { type EvidenceMessage, pcrBanks } from '../protocol/messages.ts';
import type { Proven } from '../verify/proven.ts';
import type { QuoteEvidence } from '../verify/quote.ts';
import type { Answer } from './answer.ts';

type MessagePcrs = EvidenceMessage['quotes'][number]['pcrs'];

/** What a reference can be captured from: a node's latest proof without what only its judgement needed. */
export interface LatestBoot extends Pick<Proven, 'akName' | 'banks' | 'boot'> {
  /** The PCR values as they arrived in a message of one quote: the same text again needs no second look. */
  readonly pcrs: MessagePcrs | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly resetCount: number;
  /** Digest of user space's log in that answer, where one was named: its bytes are in the store. */
  readonly userSpace: string | undefined;
  /** How often the values moved within this boot. */
  readonly moved: number;
}

/**
 * Keeps what did not change since the proof before. New values get memory of their own: as they arrived they are
 * parts of Buffer's shared pool, and one node's would keep all of it alive.
 */
export function latestBoot(
  { akName, banks, boot, clock: { resetCount } }: Proven,
  { evidence: { quotes }, parts }: Pick<Answer, 'evidence' | 'parts'>,
  at: number,
  before: LatestBoot | undefined,
): LatestBoot {
  const userSpace = parts.userSpace?.digest;
  const arrived = quotes.length === 1 ? (quotes[0]?.pcrs ?? null) : null;
  const again = arrived !== null && before?.pcrs != null && sameText(arrived, before.pcrs);
  const pcrs = again ? before.pcrs : arrived;
  const same =
    before?.banks.length === banks.length &&
    before.banks.every(({ bank, mask, pcrDigest }, index) => {
      const now = banks[index];
      return bank === now?.bank && mask === now.mask && pcrDigest === now.pcrDigest;
    });
  const moved = before?.resetCount === resetCount ? before.moved + (same ? 0 : 1) : 0;
  if (same) return { akName, banks: before.banks, boot, pcrs, at, resetCount, userSpace, moved };
  return {
    banks: banks.map((bank) => ({ ...bank, values: Buffer.from(new Uint8Array(bank.values).buffer) })),
    boot,
    akName,
    pcrs,
    at,
    resetCount,
    userSpace,
    moved,
  };
}

/** The quotes of a message, from base64; values that came and were proven before are not decoded again. */
export function quotesOf(
  { quotes }: EvidenceMessage,
  akName: string,
  before: LatestBoot | undefined,
): QuoteEvidence[] {
  const known = before?.akName === akName && quotes.length === 1 ? before : null;
  return quotes.map(({ attest, signature, pcrs }) => {
    const signed = { attest: Buffer.from(attest, 'base64'), signature: Buffer.from(signature, 'base64') };
    const again = known !== null && known.pcrs !== null && sameText(pcrs, known.pcrs);
    return again ? { ...signed, pcrs: {}, known: known.banks } : { ...signed, pcrs: decoded(pcrs) };
  });
}

/** Whether PCR values are written as they were before. */
function sameText(pcrs: MessagePcrs, before: MessagePcrs): boolean {
  return pcrBanks.every((bank) => pcrs[bank] === before[bank]);
}

function decoded(pcrs: MessagePcrs): QuoteEvidence['pcrs'] {
  return Object.fromEntries(
    Object.entries(pcrs).map(([bank, values]) => [bank, Buffer.from(values, 'base64')]),
  );
}
