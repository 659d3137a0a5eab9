import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type ApiServerOptions, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { ClusterClient } from './cluster-client.ts';
import { findFeatures } from './features.ts';

describe('what an API server is without', () => {
  const found = async (options: ApiServerOptions, hasAccount = true) => {
    await using api = await openApiServer(options);
    using client = await ClusterClient.open(await api.kubeconfig(administrator));
    await api.createNode('n1');
    const accounts = '/api/v1/namespaces/default/serviceaccounts';
    if (hasAccount) await api.as(administrator).request('POST', accounts, { metadata: { name: 'a' } });
    const features = await findFeatures(client, { node: 'n1', account: `${accounts}/a` });
    return Object.entries(features).flatMap(([name, why]) => (why === null ? [] : [name]));
  };

  it('is found by asking', async () => {
    assert.deepEqual(await found({}), []);
    assert.deepEqual(await found({ nodeRestriction: false }), ['nodeRestriction']);
    assert.deepEqual(await found({ rbac: false }), ['rbac']);
    assert.deepEqual(await found({}, false), ['tokenRequest']);
  });
});
