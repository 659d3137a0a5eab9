import type { TpmClass } from '../protocol/tpm-class.ts';
import type { Verdict } from '../protocol/verdict.ts';
import type { Proven } from '../verify/proven.ts';

/** A verdict, and the proof that it was given on. One group under one policy and one set of references. */
export interface Remembered {
  readonly banks: readonly { readonly bank: string; readonly mask: number; readonly pcrDigest: string }[];
  readonly bootLog: string | null;
  /** Events of user space that the log of the boot goes on with. */
  readonly userSpace: number;
  /** Command lines that are vouched for: a node may say one, or leave it out. */
  readonly commandLines: number;
  readonly circumstances: Circumstances;
  readonly verdict: Verdict;
  /** Milliseconds since the epoch: no reference expires from `from` until before `until`. */
  readonly from: number;
  readonly until: number;
}

/** What a verdict rests on besides PCR values and log. */
export interface Circumstances {
  readonly sentBootLog: boolean;
  readonly identified: boolean;
  /** The node says that its kernel can load another one. */
  readonly kexec: boolean;
  /** What the TPM is, where the policy wants it to be something else. */
  readonly otherClass: TpmClass | null;
  /** The policy denies the TPM's firmware. */
  readonly denied: boolean;
  /** Where a reference may be of one node alone. */
  readonly node: string | null;
}

const most = 8192;

/** The verdict on the same PCR values and the same log; null where they are new. The digests were just recomputed. */
export function recall(
  remembered: ReadonlyMap<string, Remembered>,
  { banks, boot }: Proven,
  circumstances: Circumstances,
  at: number,
): Verdict | null {
  const known = remembered.get(keyOf(banks[0]?.pcrDigest, circumstances));
  if (
    known === undefined ||
    at < known.from ||
    at >= known.until ||
    known.bootLog !== (boot?.digest ?? null) ||
    known.userSpace !== (boot?.userSpace?.length ?? 0) ||
    known.commandLines !== (boot?.state.commandLines.length ?? 0) ||
    known.banks.length !== banks.length ||
    !areSame(known.circumstances, circumstances)
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

/** Nodes that booted the same share a verdict, unless the policy goes by the node. */
function keyOf(pcrDigest: string | undefined, { node }: Circumstances): string {
  return node === null ? (pcrDigest ?? '') : `${node} ${pcrDigest}`;
}

function areSame(a: Circumstances, b: Circumstances): boolean {
  return (
    a.sentBootLog === b.sentBootLog &&
    a.identified === b.identified &&
    a.kexec === b.kexec &&
    a.otherClass === b.otherClass &&
    a.denied === b.denied &&
    a.node === b.node
  );
}

export function remember(
  remembered: Map<string, Remembered>,
  { banks, boot }: Proven,
  circumstances: Circumstances,
  verdict: Verdict,
  [from, until]: readonly [number, number],
): void {
  const first = banks[0]?.pcrDigest;
  if (first === undefined) return;
  const key = keyOf(first, circumstances);
  if (remembered.size >= most && !remembered.has(key)) {
    const oldest = remembered.keys().next();
    if (!oldest.done) remembered.delete(oldest.value);
  }
  remembered.set(key, {
    banks: banks.map(({ bank, mask, pcrDigest }) => ({ bank, mask, pcrDigest })),
    bootLog: boot?.digest ?? null,
    userSpace: boot?.userSpace?.length ?? 0,
    commandLines: boot?.state.commandLines.length ?? 0,
    circumstances,
    verdict,
    from,
    until,
  });
}
