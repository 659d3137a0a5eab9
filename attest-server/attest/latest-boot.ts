import type { Proven } from '../verify/proven.ts';

/** What a reference can be captured from: a node's latest proof without what only its judgement needed. */
export interface LatestBoot extends Pick<Proven, 'banks' | 'boot'> {
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * Keeps what did not change since the proof before. New values get memory of their own: as they arrived they are
 * parts of Buffer's shared pool, and one node's would keep all of it alive.
 */
export function latestBoot({ banks, boot }: Proven, at: number, before: LatestBoot | undefined): LatestBoot {
  const same =
    before?.banks.length === banks.length &&
    before.banks.every(({ bank, mask, pcrDigest }, index) => {
      const now = banks[index];
      return bank === now?.bank && mask === now.mask && pcrDigest === now.pcrDigest;
    });
  if (same) return { banks: before.banks, boot, at };
  return {
    banks: banks.map((bank) => ({ ...bank, values: Buffer.from(new Uint8Array(bank.values).buffer) })),
    boot,
    at,
  };
}
