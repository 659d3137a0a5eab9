import type { LatestBoot } from '../attest/latest-boot.ts';
import type { NodeStatus } from '../attest/ports.ts';
import { captureReference } from '../policy/boot/capture.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { Reference } from '../protocol/reference.ts';
import { Rejection } from '../protocol/rejection.ts';

/** With these, what runs is not what the log tells: nothing to compare others with. */
const notOfThisBoot: ReadonlySet<ReasonCode> = new Set([
  ...(['kexec_detected', 'boot_correlation', 'clock_rewind'] as const),
  ...(['counter_rollback', 'clone_suspected'] as const),
]);

export interface CaptureRequest {
  readonly node: string;
  readonly name: string;
  readonly staged: boolean;
  /** Who vouches for this boot. */
  readonly actor: string;
}

/**
 * The reference that a node's latest proven boot becomes.
 * @param at milliseconds since the epoch
 * @throws Rejection where that boot is no model for others; CaptureError where its log is none
 */
export function captured(
  boot: LatestBoot,
  status: NodeStatus | null,
  { node, name, staged, actor, group, at }: CaptureRequest & { group: PolicyGroup; at: number },
): Reference {
  const doubt = status?.verdict?.reasons.find(({ code }) => notOfThisBoot.has(code));
  if (doubt !== undefined) throw new Rejection(doubt.code, `${node} is no model for others: ${doubt.text}`);
  return captureReference(boot, {
    ...{ name, node, at, by: actor, group: group.name, scope: group.boot.scope },
    state: staged ? 'staged' : 'active',
  });
}
