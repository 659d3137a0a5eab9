import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { HeldRights } from '../../../attest-server/kubernetes/rights.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import {
  collectionOf,
  manifestFiles,
  objectsOf,
} from '../../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { type Opened, opened } from './opened.ts';

const roles = '/apis/rbac.authorization.k8s.io/v1';
const jsonPatch = 'application/json-patch+json';
const server = serviceAccount('assay', 'assay-server').name;

describe('the rights of the server in its cluster', () => {
  let api: ApiServer;
  let room: Opened;
  const asked = async (method: string, path: string, body?: unknown, contentType?: string) => {
    const { code, text } = await api.as(administrator).request(method, path, body as never, contentType);
    assert.ok(code < 300, `${method} ${path}: ${text}`);
  };
  const missing = ({ rights }: HeldRights) =>
    rights.flatMap(({ verb, resource, namespace, allowed }) =>
      allowed ? [] : [[verb, resource, ...(namespace === null ? [] : [namespace])].join(' ')],
    );
  beforeEach(async () => {
    api = await openApiServer();
    for (const object of manifestFiles.flatMap(objectsOf)) await asked('POST', collectionOf(object), object);
    room = await opened(api, { namespace: 'assay', authorityConfigMap: 'assay-agents/assay-authority' });
  });
  afterEach(async () => {
    await room?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  it('are all there by the roles of the manifests, as the API answers', async () => {
    const { user, rights } = await room.kubernetes.readRights();
    assert.equal(user, server);
    assert.deepEqual(missing({ user, rights }), []);
    const reviews = room.asked.filter((line) => line.includes('selfsubjectaccessreviews'));
    assert.deepEqual(
      [new Set(reviews), reviews.length],
      [new Set(['create selfsubjectaccessreviews.authorization.k8s.io 201']), rights.length],
    );
  });

  it('are missing one by one, in the cluster and in each namespace, and no fault of the cluster for that', async () => {
    // The verbs of the first rule are of Nodes: get, list, watch, patch.
    await asked(
      'PATCH',
      `${roles}/clusterroles/assay-server`,
      [{ op: 'remove', path: '/rules/0/verbs/3' }],
      jsonPatch,
    );
    await asked('DELETE', `${roles}/namespaces/default/rolebindings/assay-server-events`);
    assert.deepEqual(missing(await room.kubernetes.readRights()), [
      'patch nodes',
      'create events default',
      'patch events default',
    ]);
    assert.deepEqual(room.kubernetes.faults(), []);
  });

  it('are only those of what it is set to', async () => {
    await using alone = await opened(api, { namespace: 'assay', agentTokens: 'never', operators: null });
    const { rights } = await alone.kubernetes.readRights();
    const wanted = new Set(rights.map(({ resource, namespace }) => `${resource} ${namespace}`));
    for (const not of ['tokenreviews null', 'subjectaccessreviews null', 'configmaps assay-agents'])
      assert.equal(wanted.has(not), false, not);
  });

  it('are asked once for all who ask meanwhile, and not guessed where the API does not answer', async () => {
    const [first, second] = await Promise.all([room.kubernetes.readRights(), room.kubernetes.readRights()]);
    assert.equal(first, second);
    api.faults.add({ resource: 'selfsubjectaccessreviews', effect: { kind: 'unavailable' } });
    await assert.rejects(room.kubernetes.readRights(), ClusterError);
    api.faults.clear();
    assert.deepEqual(missing(await room.kubernetes.readRights()), []);
  });

  it('stay unknown where nobody may ask for his own, which is no missing right of the server', async () => {
    await asked('DELETE', `${roles}/clusterrolebindings/system:basic-user`);
    await assert.rejects(room.kubernetes.readRights(), ({ reason }: ClusterError) => reason === 'forbidden');
    assert.deepEqual([room.kubernetes.faults(), room.faults()], [[], []]);
  });
});
