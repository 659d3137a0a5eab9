import type { NodeView } from '../api/node-api.ts';
import { isRivalClaim, refusedView } from './known-node.ts';
import {
  type NodeStanding,
  nodeStanding,
  nodeView,
  rfc3339,
  unsupportedView,
  withAbsence,
} from './node-view.ts';
import type { ApiPorts } from './ports.ts';
import { connectionView } from './silence.ts';

/** A node in a list; it is looked at closely only if it is shown. */
export interface ListedNode {
  readonly name: string;
  readonly view: () => NodeView;
  readonly standing: () => NodeStanding;
}

type ListPorts = Pick<ApiPorts, 'presence' | 'now' | 'connected' | 'ended' | 'kubeletReady'> & {
  readonly enrolment: Pick<ApiPorts['enrolment'], 'unsupported' | 'claims'>;
  readonly store: Pick<ApiPorts['store'], 'nodes' | 'statuses' | 'serverFault'>;
};

/**
 * Every enrolled node, and those that have no TPM by the policy, in the order of their names.
 * @param withGone also those that are gone from the cluster
 */
export async function listNodes(ports: ListPorts, withGone = false): Promise<ListedNode[]> {
  const { store, enrolment, presence, now } = ports;
  const [nodes, statuses] = await Promise.all([store.nodes(), store.statuses()]);
  const byName = new Map(statuses.map((status) => [status.name, status]));
  const names = new Set(nodes.map(({ name }) => name));
  let claims: ReturnType<typeof enrolment.claims> | null = null;
  // Only a silent node asks for them.
  const claimsOn = (name: string) => {
    claims ??= enrolment.claims();
    return claims.get(name) ?? [];
  };
  return [
    ...nodes
      .filter(({ name }) => withGone || !presence.isHidden(name))
      .map((enrolled) => {
        const { name } = enrolled;
        const view = () =>
          withAbsence(
            nodeView(byName.get(name) ?? null, enrolled, now(), store.serverFault(name)),
            presence.absenceOf(name),
          );
        const isClaimed = () =>
          claimsOn(name).some((claim) =>
            isRivalClaim(claim, enrolled.ekDigest, byName.get(name)?.verifiedAt ?? 0),
          );
        const standing = () => {
          const its = nodeStanding(byName.get(name) ?? null, enrolled, now(), store.serverFault(name));
          const missingSince = rfc3339(presence.absenceOf(name)?.missingSince ?? null);
          if (its.state !== 'unknown') return { ...its, missingSince };
          return { ...its, missingSince, ...connectionView(name, ports), claimed: isClaimed() };
        };
        return { name, view, standing };
      }),
    ...enrolment
      .unsupported()
      .filter(({ name }) => !names.has(name))
      .map((node) => {
        const view = () => unsupportedView(node);
        return { name: node.name, view, standing: view };
      }),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Machines that say they have no TPM, where policy expects one: shown beside the nodes, and counted nowhere. Nothing of it is
 * proven.
 */
export function withoutTpm(enrolment: ApiPorts['enrolment']): Pick<ListedNode, 'name' | 'view'>[] {
  const claims = enrolment.claims();
  return enrolment.claimedWithoutTpm().flatMap((name) => {
    const its = claims.get(name);
    return its === undefined ? [] : [{ name, view: () => refusedView(name, its, enrolment) }];
  });
}
