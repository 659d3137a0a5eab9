import type { RefusedKeyView } from '../api/node-api.ts';
import type { NodeStatus } from '../attest/ports.ts';
import type { EnrolledNode } from '../enrolment/ports.ts';
import { type FaultCause, faultText } from '../formats/server-fault.ts';
import type { RefusedBoot } from '../keys/ports.ts';
import { adviceOn } from '../wire/advice.ts';
import type { ApiPorts } from './ports.ts';

/** Keys of disks that the latest boot of a node did not get, and those that none gets while nothing can be stored. */
export async function refusedKeys(
  { volumes, store, faultAdvice, now }: Pick<ApiPorts, 'volumes' | 'store' | 'faultAdvice' | 'now'>,
  { name: node, ekDigest: ek }: EnrolledNode,
  status: NodeStatus | null,
): Promise<readonly RefusedKeyView[]> {
  const refused = (await volumes.refusals(ek)).filter((one) => isOfLatestBoot(one, status));
  const fault = store.serverFault(node);
  if (refused.length === 0 && fault === null) return [];
  const own = (await volumes.list()).filter((volume) => volume.node === node);
  const undecided = (cause: FaultCause) =>
    own.map(({ uuid, name }) => ({
      ...{ volume: uuid, name, code: 'server_fault' as const },
      text: `no boot of this node gets it, because ${faultText(cause)}`,
      // Nothing is stored of it: since the last answer that was.
      at: new Date(status?.verifiedAt ?? now()).toISOString(),
      next: faultAdvice(cause),
    }));
  const kept = refused.map(({ volume, code, text, at }) => ({
    volume,
    name: own.find(({ uuid }) => uuid === volume)?.name ?? null,
    code,
    text,
    at: new Date(at).toISOString(),
    next: adviceOn(code, { node, ek, group: status?.verdict?.group ?? null }),
  }));
  return fault === null ? kept : [...undecided(fault), ...kept];
}

/** Whether the node has not booted since: of a later boot that did not ask nothing is known. */
export function isOfLatestBoot({ resetCount, at }: RefusedBoot, status: NodeStatus | null): boolean {
  // A TPM that was cleared counts from 0 again, and its boots are not taken for later ones.
  return (status?.resetCount ?? resetCount) === resetCount || (status?.bootSeenAt ?? Infinity) <= at;
}
