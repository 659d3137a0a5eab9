import type { Verdict } from '../protocol/verdict.ts';
import type { Proven } from '../verify/proven.ts';

/** A verdict, and the proof that it was given on. One group under one policy and one set of references. */
export interface Remembered {
  readonly banks: readonly { readonly bank: string; readonly mask: number; readonly pcrDigest: string }[];
  readonly bootLog: string | null;
  readonly sentBootLog: boolean;
  readonly identified: boolean;
  readonly verdict: Verdict;
  /** Milliseconds since the epoch: no reference expires from `from` until before `until`. */
  readonly from: number;
  readonly until: number;
}

const most = 8192;

/** The verdict on the same PCR values and the same log; null where they are new. The digests were just recomputed. */
export function recall(
  remembered: ReadonlyMap<string, Remembered>,
  { banks, boot, ekDigest }: Proven,
  sentBootLog: boolean,
  at: number,
): Verdict | null {
  const known = remembered.get(banks[0]?.pcrDigest ?? '');
  if (
    known === undefined ||
    at < known.from ||
    at >= known.until ||
    known.sentBootLog !== sentBootLog ||
    known.identified !== (ekDigest !== null) ||
    known.bootLog !== (boot?.digest ?? null) ||
    known.banks.length !== banks.length
  )
    return null;
  for (let index = 0; index < banks.length; index++) {
    const before = known.banks[index]!;
    const now = banks[index]!;
    if (before.bank !== now.bank || before.mask !== now.mask || before.pcrDigest !== now.pcrDigest)
      return null;
  }
  return known.verdict;
}

export function remember(
  remembered: Map<string, Remembered>,
  { banks, boot, ekDigest }: Proven,
  sentBootLog: boolean,
  verdict: Verdict,
  [from, until]: readonly [number, number],
): void {
  const key = banks[0]?.pcrDigest;
  if (key === undefined) return;
  if (remembered.size >= most && !remembered.has(key)) {
    const oldest = remembered.keys().next();
    if (!oldest.done) remembered.delete(oldest.value);
  }
  remembered.set(key, {
    banks: banks.map(({ bank, mask, pcrDigest }) => ({ bank, mask, pcrDigest })),
    bootLog: boot?.digest ?? null,
    sentBootLog,
    identified: ekDigest !== null,
    verdict,
    from,
    until,
  });
}
