import { z } from 'zod';
import type { CapState } from '../verify/boot-cap.ts';
import type { Proven } from '../verify/proven.ts';
import { type PcrBank, pcrBanks } from '../wire/messages.ts';

/** A node's cap, by what it proved in this boot. */
export interface CapJudgement {
  /** Quoted banks that are not capped. */
  readonly uncapped: readonly UncappedBank[];
  /** Whether this boot must be capped: `soon`, as the node has had no time yet. */
  readonly due: 'never' | 'soon' | 'now';
  /** Banks that were capped in this boot, and were seen without the cap after that. */
  readonly reverted: readonly PcrBank[];
  /** To be remembered of the node; null: what is remembered stays. */
  readonly next: CapMemory | null;
}

export interface UncappedBank {
  readonly bank: PcrBank;
  readonly state: Exclude<CapState, 'capped'>;
}

/** Of a node that was capped once, or had a lease: each boot that begins after that must be capped. */
interface CapMemory {
  /** The reset count of its latest boot. */
  readonly boot: number;
  /** That boot began after the node was capped first, or given a lease. */
  readonly isDue: boolean;
  /** Milliseconds by the TPM's clock, of the first answer in that boot. */
  readonly first: number;
  /** Banks that were capped in it. */
  readonly capped: readonly PcrBank[];
  /** The same clock, when the last of these was seen so first. */
  readonly cappedAt: number;
  readonly reverted: readonly PcrBank[];
}

/** The member of a node's memory that this file writes; the others are named by aspect. */
const key = 'cap';
const banks = z.array(z.enum(pcrBanks)).max(pcrBanks.length);
const kept = z.object({
  boot: z.int(),
  isDue: z.boolean(),
  first: z.number(),
  capped: banks,
  cappedAt: z.number(),
  reverted: banks,
}) satisfies z.ZodType<CapMemory>;

/** Milliseconds by the TPM's clock that a node has from its first answer on: the agent may be sooner than what caps the boot. */
const timeToCap = 60_000;

/**
 * Judges the cap of this boot by what was seen of it before.
 * @param hasLease a disk key is kept for this node
 * @param concurrent the answer is to a challenge older than the previous reading: its clock may be older, too
 */
export function judgeCap(
  memory: Readonly<Record<string, unknown>>,
  { cap, clock: { resetCount, clock } }: Pick<Proven, 'cap' | 'clock'>,
  { hasLease, concurrent }: { readonly hasLease: boolean; readonly concurrent: boolean },
): CapJudgement {
  const given = memory[key];
  // Only this file writes it; a bundle may hold anything.
  const known = given === undefined ? null : (kept.safeParse(given).data ?? null);
  if (known === null && !hasLease && !isCapped(cap)) return neverCapped;
  const now = Number(clock);
  const before = known?.boot === resetCount ? known : null;
  const { isDue, first, ...last } = before ?? { ...newBoot, isDue: known !== null, first: now };
  const due = !isDue ? 'never' : now - first < timeToCap ? 'soon' : 'now';
  // What was quoted before the boot was capped shows no more than that.
  if (concurrent && (known?.boot !== resetCount ? known !== null : now < last.cappedAt))
    return { uncapped: uncappedIn(cap, last.capped), due, reverted: last.reverted, next: null };
  const stateIn = (bank: PcrBank) => cap.get(bank)?.state;
  const seen = pcrBanks.filter((bank) => stateIn(bank) === 'capped' && !last.capped.includes(bank));
  const lost = last.capped.filter((bank) => stateIn(bank) === 'open' && !last.reverted.includes(bank));
  const reverted = [...last.reverted, ...lost];
  const next: CapMemory = {
    boot: resetCount,
    isDue,
    first,
    capped: [...last.capped, ...seen],
    cappedAt: seen.length > 0 ? now : last.cappedAt,
    reverted,
  };
  const isNew = before === null || seen.length + lost.length > 0;
  return { uncapped: uncappedIn(cap), due, reverted, next: isNew ? next : null };
}

/** Whether a bank was capped in this boot, whatever its PCR 15 shows now: a TPM that restarts may keep its reset count. */
export function wasCapped(
  memory: Readonly<Record<string, unknown>>,
  { clock: { resetCount } }: Pick<Proven, 'clock'>,
): boolean {
  const known = kept.safeParse(memory[key]).data;
  return known !== undefined && known.boot === resetCount && known.capped.length > 0;
}

const newBoot: Pick<CapMemory, 'capped' | 'cappedAt' | 'reverted'> = {
  capped: [],
  cappedAt: 0,
  reverted: [],
};
/** Of a node that was never capped and has no lease, nothing is said and nothing remembered. */
export const neverCapped: CapJudgement = { uncapped: [], due: 'never', reverted: [], next: null };

function isCapped(cap: Proven['cap']): boolean {
  for (const { state } of cap.values()) if (state === 'capped') return true;
  return false;
}

/** @param since banks that were capped since */
function uncappedIn(cap: Proven['cap'], since: readonly PcrBank[] = []): readonly UncappedBank[] {
  return [...cap].flatMap(([bank, { state }]) =>
    state === 'capped' || since.includes(bank) ? [] : [{ bank, state }],
  );
}

/** The memory of a node once an answer is judged. */
export function withCap(
  memory: Readonly<Record<string, unknown>>,
  { next }: CapJudgement,
): Readonly<Record<string, unknown>> {
  return next === null ? memory : { ...memory, [key]: next };
}
