import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { Check } from '../../../../attest-server/wire/checks.ts';
import { type ApiServer, openApiServer } from '../../../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, serviceAccount, type User } from '../../../../swtpm-fixtures/api-server/users.ts';
import { openHelmDoor } from '../../../manifests/helm-door.ts';
import { chartFolder, helm, kubectl, needsTools } from '../../../manifests/kubernetes-tools.ts';
import { baseFolder } from '../../../manifests/renderings.ts';
import * as served from '../../http/api-fixture.ts';
import { type Opened, opened } from '../../kubernetes/opened.ts';
import { type MadeControl, madeControl } from '../../marking/made-control.ts';
import { environmentOf, runAssay } from '../cli-fixture.ts';

const roles = '/apis/rbac.authorization.k8s.io/v1';

describe('assay doctor on the rights of the server in its cluster', function () {
  this.timeout(120_000);
  let api: ApiServer;
  let room: Opened;
  let made: MadeControl;
  let server: served.ApiServer;
  let env: Record<string, string>;
  beforeEach(async function () {
    needsTools(this);
    api = await openApiServer();
    made = await madeControl(() => served.now);
    await inCluster();
  });
  afterEach(async () => {
    await server?.close();
    await room?.[Symbol.asyncDispose]();
    await made?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  async function inCluster(user?: User): Promise<void> {
    room = await opened(api, {
      namespace: 'assay',
      authorityConfigMap: 'assay-agents/assay-authority',
      ...(user !== undefined && { api: await api.kubeconfig(user) }),
    });
    const world = served.emptyWorld();
    world.cluster = made.control;
    world.clusterRights = room.kubernetes.readRights;
    server = await served.startApi(world);
    env = environmentOf(server, 'reader-token');
  }
  async function look(): Promise<Check> {
    const { out } = await runAssay(['doctor', '-o', 'json'], { env, now: Date.now });
    const { checks }: { checks: Check[] } = JSON.parse(out);
    return checks.find(({ name }) => name === 'cluster rights') ?? assert.fail(out);
  }
  async function narrow(): Promise<void> {
    const path = `${roles}/clusterroles/assay-server`;
    const patch = [{ op: 'remove', path: '/rules/0/verbs/3' }];
    const { code, text } = await api
      .as(administrator)
      .request('PATCH', path, patch, 'application/json-patch+json');
    assert.equal(code, 200, text);
  }
  const asAdministrator = async (...args: readonly string[]) =>
    kubectl('--kubeconfig', await api.kubeconfig(administrator), ...args);

  it('finds one that was taken away, and the command that it prints gives it back', async () => {
    await asAdministrator('apply', '--server-side', '-k', baseFolder);
    const all = await look();
    assert.equal(all.result, 'ok', all.text);
    await narrow();
    const { result, text, next } = await look();
    assert.deepEqual(
      [result, text.split('\n').filter((line) => line.startsWith('- '))],
      ['failed', ['- patch nodes; without it waits: marks']],
    );
    const [, program, ...words] = next?.split('\n').at(-1)?.match(/(\S+)/g) ?? [];
    const args = [program ?? '', ...words].map((word) => word.replace(/^manifests\/base/, baseFolder));
    await asAdministrator(...args);
    assert.equal((await look()).result, 'ok');
  });

  it('gives it back to an installation by Helm, too', async () => {
    await using door = await openHelmDoor(api);
    await helm('upgrade', '--install', 'assay', chartFolder, '--no-hooks', '--kube-apiserver', door.url);
    await narrow();
    const [line = ''] = (await look()).next?.split('\n') ?? [];
    assert.equal(line, 'helm get manifest assay | kubectl apply -f -');
    const manifest = join(server.dir, 'manifest.yaml');
    await writeFile(manifest, await helm('get', 'manifest', 'assay', '--kube-apiserver', door.url));
    await asAdministrator('apply', '-f', manifest);
    assert.equal((await look()).result, 'ok');
  });

  it('names another account of the server, and how to see what that has', async () => {
    await asAdministrator('apply', '--server-side', '-k', baseFolder);
    await server.close();
    await room[Symbol.asyncDispose]();
    await inCluster(serviceAccount('assay', 'default'));
    const { result, text, next } = await look();
    assert.equal(result, 'failed');
    assert.match(text, /^system:serviceaccount:assay:default lacks \d+ of \d+:/);
    assert.equal(next, 'kubectl auth can-i --list --as system:serviceaccount:assay:default');
  });

  it('says that it does not know where the cluster gives no answer', async () => {
    api.faults.add({ resource: 'selfsubjectaccessreviews', effect: { kind: 'unavailable' } });
    assert.equal((await look()).result, 'not looked at');
  });
});
