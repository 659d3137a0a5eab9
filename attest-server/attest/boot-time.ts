import type { BootTransition } from '../policy/appraise.ts';
import type { Proven } from '../verify/proven.ts';
import type { NodeStatus } from './ports.ts';

/** When the current boot began, and between which moments it did. Milliseconds since the epoch. */
type BootTime = Pick<NodeStatus, 'bootSeenAt' | 'bootedAfter' | 'bootedAt'>;
type PreviousBoot = BootTime & Pick<NodeStatus, 'resetCount' | 'verifiedAt'>;

/** How far the clock of a node may be off ours, in milliseconds. */
const clockSlack = 60_000;

/**
 * The node's own word counts between its last proof of the previous boot and its first one of this boot: a wrong clock,
 * or a lie, moves it no further.
 * @param previous what was known before this answer
 * @param at when it was judged
 */
export function bootTimeOf(
  { clock: { clock }, facts }: Pick<Proven, 'clock' | 'facts'>,
  previous: PreviousBoot | null,
  begun: BootTransition['code'] | null,
  at: number,
): BootTime {
  const seconds = facts?.host?.bootTime;
  const said = seconds === undefined ? null : seconds * 1000;
  if (previous !== null && !isAnother(previous, begun)) {
    const bootSeenAt = previous.bootSeenAt ?? at;
    const bootedAfter = previous.bootedAfter ?? poweredSince(clock, at);
    const bootedAt = within(said, bootedAfter, bootSeenAt) ?? previous.bootedAt;
    return { bootSeenAt, bootedAfter, bootedAt };
  }
  const last = begun === 'rebooted' ? (previous?.verifiedAt ?? null) : null;
  const bootedAfter = Math.min(at, Math.max(last ?? 0, poweredSince(clock, at)));
  return { bootSeenAt: at, bootedAfter, bootedAt: within(said, bootedAfter, at) };
}

/** The clock has run since the reset at the least, so no boot is longer ago. TPM 2.0 Part 1 r1.59, section 36. */
function poweredSince(clock: bigint, at: number): number {
  return Math.floor(at - Number(clock) * 1.5 - clockSlack);
}

/** Where a person ended what was held against its TPM, nobody knows whether it booted meanwhile. */
function isAnother({ resetCount }: PreviousBoot, begun: BootTransition['code'] | null): boolean {
  return begun === 'rebooted' || resetCount === null;
}

function within(said: number | null, after: number | null, before: number): number | null {
  if (said === null || said > before + clockSlack || said < (after ?? 0) - clockSlack) return null;
  return Math.min(before, Math.max(after ?? 0, said));
}
