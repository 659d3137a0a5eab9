import { hash } from 'node:crypto';
import type { BootState } from '../../../attest-server/verify/boot/boot-state.ts';
import type { MeasuredBoot, ReplayedBoot } from '../../../attest-server/verify/measured-boot.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { QuotedBank } from '../../../attest-server/verify/quote.ts';
import type { Part } from '../../../attest-server/wire/evidence.ts';
import type { PcrValues } from '../../../attest-server/wire/pcr-values.ts';

/** Whose values no quote signed. The casts here are the only way to make one: see sealed.unit.test.ts. */
export function bankByHand({ bank, mask, values }: PcrValues): QuotedBank {
  return { bank, mask, values, pcrDigest: hash('sha256', values) } as QuotedBank;
}

/** A boot that nothing measured. */
export function bootByHand(boot: ReplayedBoot, userSpaceDigest: string | null = null): MeasuredBoot {
  const { digest, log, userSpace = [], cap, problems, state } = boot;
  return { digest, log, userSpace, cap, problems, state, userSpaceDigest } as MeasuredBoot;
}

/** What a boot was, as values, not as they are derived. */
export function plainState({
  components,
  secureBoot,
  firmwareVersion,
  problems,
  notes,
  commandLines,
  unexplained,
  explaining,
}: BootState): BootState {
  return { components, secureBoot, firmwareVersion, problems, notes, commandLines, unexplained, explaining };
}

/** A proof in which something was put that its quotes did not sign. */
export function provenByHand(proven: Proven, change: Partial<Proven>): Proven {
  return { ...proven, ...change } as Proven;
}

/** Bytes under their digest. */
export function partOf(bytes: Buffer): Part {
  return { digest: hash('sha256', bytes), bytes };
}
