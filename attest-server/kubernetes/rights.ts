import { z } from 'zod';
import { protectedThings } from '../formats/marking.ts';
import { attestationResource, checkpointConfig, latchResource, resourceGroup } from '../formats/marks.ts';
import type { Requests } from './requests.ts';

/** Rights on one resource, as a rule of a Role grants them. */
export interface NeededRights {
  readonly verbs: readonly string[];
  /** Empty: Kubernetes' own. */
  readonly group: string;
  /** Plural, with the subresource: `nodes/status`. */
  readonly resource: string;
  /** Null: in all of them, or of a resource that has none. */
  readonly namespace: string | null;
  /** Null: whatever its name. */
  readonly name: string | null;
  /** Work of the server that waits where it is missing. */
  readonly waits: string;
}

export interface HeldRight extends Omit<NeededRights, 'verbs'> {
  readonly verb: string;
  readonly allowed: boolean;
}

/** Rights of the server in its cluster, as the API of the cluster answers. */
export interface HeldRights {
  /** Who the server is there: `system:serviceaccount:assay:assay-server`. */
  readonly user: string;
  readonly rights: readonly HeldRight[];
}

export interface RightsConfig {
  /** The server's own. */
  readonly namespace: string;
  /** The ConfigMap of authorities; null: there is none. */
  readonly authorities: { readonly namespace: string; readonly name: string } | null;
  /** Whether anybody shows it a token of the cluster, and whether people do. */
  readonly takesTokens: boolean;
  readonly takesPeople: boolean;
}

/** Of the server among others that mark. */
export const markingLease = 'assay-server';

/** All that a server of these settings does in its cluster. The roles in manifests/ grant this and nothing else. */
export function neededRights(config: RightsConfig): readonly NeededRights[] {
  const { namespace, authorities, takesTokens, takesPeople } = config;
  const of = (
    verbs: string,
    resource: string,
    waits: string,
    where: Partial<Pick<NeededRights, 'group' | 'namespace' | 'name'>> = {},
  ): NeededRights => ({
    verbs: verbs.split(' '),
    group: '',
    resource,
    namespace: null,
    name: null,
    waits,
    ...where,
  });
  const ours = { group: resourceGroup };
  const leases = { group: 'coordination.k8s.io', namespace };
  return [
    of('get list watch', 'nodes', 'marks, labels and enrolment by the cluster'),
    of('patch', 'nodes', 'marks'),
    of('patch', 'nodes/status', 'the condition on Nodes'),
    of('get list create patch delete', attestationResource.plural, 'what the cluster shows of nodes', ours),
    of('patch', `${attestationResource.plural}/status`, 'what the cluster shows of nodes', ours),
    of('get create patch', latchResource.plural, 'the latch in the cluster', ours),
    of('mark', 'attestations', 'marks, where admission protects them', ours),
    ...['validatingadmissionpolicies', 'validatingadmissionpolicybindings'].flatMap((resource) =>
      protectedThings.map((thing) =>
        of('get', resource, 'the word on whether admission protects the marks', {
          group: 'admissionregistration.k8s.io',
          name: `assay-${thing}`,
        }),
      ),
    ),
    ...(takesTokens
      ? [
          of('create', 'tokenreviews', 'agents that show a token, and people', {
            group: 'authentication.k8s.io',
          }),
        ]
      : []),
    ...(takesPeople
      ? [
          of('create', 'subjectaccessreviews', 'people who come by the cluster', {
            group: 'authorization.k8s.io',
          }),
        ]
      : []),
    of('get list', 'pods', 'the dry run of the latch'),
    of('get list', 'daemonsets', 'the dry run of the latch', { group: 'apps' }),
    of('get', 'namespaces', 'the uid of the cluster', { name: 'kube-system' }),
    of('create', 'configmaps', 'checkpoints of the audit log', { namespace }),
    of('get update', 'configmaps', 'checkpoints of the audit log', { namespace, name: checkpointConfig }),
    ...(authorities === null
      ? []
      : [of('get update', 'configmaps', 'the authorities that agents trust', authorities)]),
    of('create', 'leases', 'marks', leases),
    of('get update', 'leases', 'marks', { ...leases, name: markingLease }),
    of('create patch', 'events', 'Events on Nodes', { namespace: 'default' }),
  ];
}

const accessReview = z.object({
  status: z.object({ allowed: z.boolean().default(false), denied: z.boolean().default(false) }),
});
const userReview = z.object({ status: z.object({ userInfo: z.object({ username: z.string() }) }) });

/** Questions about the server itself: system:basic-user lets everybody ask, and nothing waits where it does not. */
export const ownReviews: ReadonlySet<string> = new Set([
  'selfsubjectaccessreviews.authorization.k8s.io',
  'selfsubjectreviews.authentication.k8s.io',
]);

/**
 * Asks the API of the cluster for each right, one after the other; who asks meanwhile gets the same answer.
 * @throws ClusterError
 */
export function createRightsReader(
  requests: Pick<Requests, 'json'>,
  needed: readonly NeededRights[],
): () => Promise<HeldRights> {
  let underWay: Promise<HeldRights> | null = null;
  return () => {
    underWay ??= readRights(requests, needed).finally(() => {
      underWay = null;
    });
    return underWay;
  };
}

async function readRights(
  requests: Pick<Requests, 'json'>,
  needed: readonly NeededRights[],
): Promise<HeldRights> {
  const user = (await review(requests, 'authentication', 'SelfSubjectReview', {}, userReview)).status.userInfo
    .username;
  const rights: HeldRight[] = [];
  for (const { verbs, ...right } of needed)
    for (const verb of verbs) {
      const { group, namespace, name } = right;
      const [resource, subresource] = right.resource.split('/');
      const resourceAttributes = {
        verb,
        group,
        resource,
        ...(subresource !== undefined && { subresource }),
        ...(namespace !== null && { namespace }),
        ...(name !== null && { name }),
      };
      const { status } = await review(
        requests,
        'authorization',
        'SelfSubjectAccessReview',
        { spec: { resourceAttributes } },
        accessReview,
      );
      rights.push({ ...right, verb, allowed: status.allowed && !status.denied });
    }
  return { user, rights };
}

function review<T>(
  requests: Pick<Requests, 'json'>,
  group: 'authentication' | 'authorization',
  kind: string,
  asked: object,
  schema: z.ZodType<T>,
): Promise<T> {
  const plural = `${kind.toLowerCase()}s`;
  const body = { apiVersion: `${group}.k8s.io/v1`, kind, ...asked };
  const path = `/apis/${group}.k8s.io/v1/${plural}`;
  const resource = `${plural}.${group}.k8s.io`;
  return requests.json({ verb: 'create', resource, name: '', path, body, lane: 'reads' }, schema);
}
