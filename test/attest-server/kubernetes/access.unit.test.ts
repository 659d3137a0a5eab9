import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { stringify } from 'yaml';
import { kubeconfigAccess } from '../../../attest-server/kubernetes/kubeconfig.ts';
import { podAccess } from '../../../attest-server/kubernetes/pod.ts';
import { Requests } from '../../../attest-server/kubernetes/requests.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';

const list = { verb: 'list', resource: 'nodes', name: '', path: '/api/v1/nodes', lane: 'reads' } as const;

describe('the way to the API of a cluster', () => {
  let api: ApiServer;
  let folder: string;
  before(async () => {
    api = await openApiServer({ rbac: false });
    folder = await mkdtemp(join(tmpdir(), 'assay-access-'));
  });
  after(async () => {
    await api[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });
  const put = (name: string, text: string) => writeFile(join(folder, name), text);

  it('is by the files of a pod, whose token is another one within the hour', async () => {
    const token = (name: string) => api.tokenOf(serviceAccount('assay', name));
    await put('ca.crt', api.authority);
    await put('namespace', 'assay-system\n');
    await put('token', `${token('one')}\n`);
    const port = Number(new URL(api.url).port);
    const access = await podAccess({ host: '127.0.0.1', port, folder });
    assert.deepEqual([access.url.href, access.namespace], [`${api.url}/`, 'assay-system']);
    let now = 0;
    using requests = new Requests({ access, monotonic: () => now, on: { asked: () => {} } });
    const by = (name: string) =>
      api.log.requests({ user: `system:serviceaccount:assay:${name}`, verb: 'list', code: 200 });
    await requests.json(list);
    await put('token', token('two'));
    await requests.json(list);
    assert.deepEqual([by('one'), by('two')], [2, 0]);
    now = 60_000;
    await requests.json(list);
    assert.deepEqual([by('one'), by('two')], [2, 1]);
    // One that is refused is not kept.
    await put('token', 'of-nobody');
    now = 120_000;
    const refused = (error: unknown) => error instanceof ClusterError && error.reason === 'forbidden';
    await assert.rejects(requests.json(list), refused);
    await put('token', token('two'));
    await requests.json(list);
    await rm(join(folder, 'token'));
    now = 180_000;
    await assert.rejects(requests.json(list), (error) => {
      assert.ok(error instanceof ClusterError && error.reason === 'unreachable');
      assert.match(error.message, /token cannot be read/);
      return true;
    });
  });

  it('takes no server that another authority vouches for', async () => {
    const other = await openApiServer();
    await other[Symbol.asyncDispose]();
    await put('ca.crt', other.authority);
    await put('token', 'secret-token');
    const access = await podAccess({ host: '127.0.0.1', port: Number(new URL(api.url).port), folder });
    using requests = new Requests({ access, monotonic: () => 0, on: { asked: () => {} } });
    await assert.rejects(requests.json(list), (error) => {
      assert.ok(error instanceof ClusterError && error.reason === 'unreachable');
      assert.equal(error.message.includes('secret-token'), false);
      return true;
    });
  });

  it('is none where there is no pod, and the error says what to set', async () => {
    await assert.rejects(
      podAccess({ host: 'a', port: 1, folder: join(folder, 'nowhere') }),
      /token cannot be read.*kubernetes\.api/,
    );
  });

  const config = (server: string) =>
    stringify({
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user: { token: 't' } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'ours' } }],
      'current-context': 'x',
    });
  const bad: Readonly<Record<string, readonly [string | null, RegExp]>> = {
    'that is not there': [null, /ENOENT/],
    'that is no YAML': ['token: secret-token\na: [', /kubeconfig .* cannot be used/],
    'that names no cluster': ['apiVersion: v1\nkind: Config\n', /current-context names no cluster/],
    'whose tokens would travel in the clear': [config('http://127.0.0.1:1'), /is no https address/],
  };
  for (const [name, [text, said]] of Object.entries(bad))
    it(`is no kubeconfig ${name}, and the error names the file`, async () => {
      const path = join(folder, 'kubeconfig');
      await rm(path, { force: true });
      if (text !== null) await writeFile(path, text);
      await assert.rejects(kubeconfigAccess(path), (error) => {
        assert.ok(error instanceof Error && error.message.includes(path));
        assert.equal(error.message.includes('secret-token'), false);
        assert.match(error.message, said);
        return true;
      });
    });

  it('is by a kubeconfig, with the namespace of its context', async () => {
    const path = join(folder, 'kubeconfig');
    await writeFile(path, config('https://127.0.0.1:1/below'));
    const access = await kubeconfigAccess(path);
    assert.deepEqual([access.url.href, access.namespace], ['https://127.0.0.1:1/below', 'ours']);
    assert.deepEqual((await access.credentials()).headers, { authorization: 'Bearer t' });
  });
});
