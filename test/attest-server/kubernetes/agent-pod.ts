import assert from 'node:assert/strict';
import type { ApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { type Json, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

const account = 'assay-agent';

/** The namespace, and the accounts of server and agent with the rights that reading Nodes and reviewing tokens need. */
export async function installAccounts(api: ApiServer): Promise<void> {
  await post(api, '/api/v1/namespaces', { metadata: { name: 'assay' } });
  for (const name of ['assay-server', account])
    await post(api, '/api/v1/namespaces/assay/serviceaccounts', { metadata: { name } });
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  await post(api, `${rbac}/clusterroles`, {
    metadata: { name: 'assay-server' },
    rules: [
      { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
    ],
  });
  await post(api, `${rbac}/clusterrolebindings`, {
    metadata: { name: 'assay-server' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'assay-server' },
    subjects: [{ kind: 'ServiceAccount', namespace: 'assay', name: 'assay-server' }],
  });
}

/** Puts the agent's pod on a node, and gives the token that the kubelet projects into it. */
export async function startAgentPod(api: ApiServer, nodeName: string): Promise<string> {
  const pod = await post(api, '/api/v1/namespaces/assay/pods', {
    metadata: { name: `${account}-${nodeName}` },
    spec: { nodeName, serviceAccountName: account, containers: [{ name: 'agent', image: 'agent' }] },
  });
  return await tokenIn(api, textAt(pod, 'metadata', 'name') ?? '', textAt(pod, 'metadata', 'uid') ?? '');
}

/** Another token, as the kubelet puts a new one into the pod from time to time. */
export async function renewAgentToken(api: ApiServer, nodeName: string): Promise<string> {
  const name = `${account}-${nodeName}`;
  const { body } = await api.as(administrator).request('GET', `/api/v1/namespaces/assay/pods/${name}`);
  return await tokenIn(api, name, textAt(body ?? {}, 'metadata', 'uid') ?? '');
}

async function tokenIn(api: ApiServer, name: string, uid: string): Promise<string> {
  const answer = await post(api, `/api/v1/namespaces/assay/serviceaccounts/${account}/token`, {
    spec: {
      audiences: ['assay'],
      expirationSeconds: 600,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
    },
  });
  return textAt(answer, 'status', 'token') ?? '';
}

async function post(api: ApiServer, path: string, body: Json) {
  const { code, body: answer, text } = await api.as(administrator).request('POST', path, body);
  assert.ok(code < 300 && answer !== null && answer !== undefined, `POST ${path}: ${text}`);
  return answer;
}
