import type { User } from '../../swtpm-fixtures/api-server/users.ts';
import { kubelet, operator } from '../../swtpm-fixtures/api-server/users.ts';
import type { ClusterClient } from './cluster-client.ts';

/** What an API server may be without. Why it is known to be; null: it is on. */
export interface Features {
  /** Rights by RBAC objects. */
  readonly rbac: string | null;
  /** Kubelets change their own Node only, and no taint or protected label of it. */
  readonly nodeRestriction: string | null;
  /** Tokens of service accounts on demand. */
  readonly tokenRequest: string | null;
}

export async function findFeatures(
  client: ClusterClient,
  { node, account }: { readonly node: string; readonly account: string },
): Promise<Features> {
  const nobody = operator('assay-test:nobody');
  const list = await client.ask({ method: 'GET', path: '/api/v1/nodes?limit=1', as: nobody });
  const token = await client.ask({
    method: 'POST',
    path: `${account}/token`,
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['assay'] } },
  });
  return {
    rbac: list.code === 403 ? null : `a user without any right may list Nodes (HTTP ${list.code})`,
    nodeRestriction: await restrictionFault(client, node, kubelet(node)),
    tokenRequest: token.code === 201 ? null : `a token was refused (HTTP ${token.code})`,
  };
}

async function restrictionFault(client: ClusterClient, node: string, as: User): Promise<string | null> {
  const patched = (patch: object) =>
    client.ask({
      method: 'PATCH',
      path: `/api/v1/nodes/${node}?dryRun=All`,
      body: JSON.parse(JSON.stringify(patch)),
      contentType: 'application/merge-patch+json',
      as,
    });
  const ordinary = await patched({ metadata: { labels: { 'example.com/assay-test': 'x' } } });
  if (ordinary.code !== 200) return `a kubelet may not change its own Node (HTTP ${ordinary.code})`;
  const taints = [{ key: 'example.com/assay-test', effect: 'NoSchedule' }];
  const restricted = await patched({ spec: { taints } });
  return restricted.code === 403 ? null : `a kubelet may change its taints (HTTP ${restricted.code})`;
}
