import type { RefusedKeyView } from '../api/node-api.ts';
import type { NodeStatus } from '../attest/ports.ts';
import type { EnrolledNode } from '../enrolment/ports.ts';
import type { RefusedBoot } from '../keys/ports.ts';
import { adviceOn } from '../wire/advice.ts';
import type { ApiPorts } from './ports.ts';

/** Keys of disks that the latest boot of a node did not get. */
export async function refusedKeys(
  { volumes }: Pick<ApiPorts, 'volumes'>,
  { name: node, ekDigest: ek }: EnrolledNode,
  status: NodeStatus | null,
): Promise<readonly RefusedKeyView[]> {
  const refused = (await volumes.refusals(ek)).filter((one) => isOfLatestBoot(one, status));
  if (refused.length === 0) return [];
  const own = (await volumes.list()).filter((volume) => volume.node === node);
  return refused.map(({ volume, code, text, at }) => ({
    volume,
    name: own.find(({ uuid }) => uuid === volume)?.name ?? null,
    code,
    text,
    at: new Date(at).toISOString(),
    next: adviceOn(code, { node, ek, group: status?.verdict?.group ?? null }),
  }));
}

/** Whether the node has not booted since: of a later boot that did not ask nothing is known. */
export function isOfLatestBoot({ resetCount, at }: RefusedBoot, status: NodeStatus | null): boolean {
  // A TPM that was cleared counts from 0 again, and its boots are not taken for later ones.
  return (status?.resetCount ?? resetCount) === resetCount || (status?.bootSeenAt ?? Infinity) <= at;
}
