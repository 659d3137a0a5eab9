import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { checkpointConfig, trustedCondition, trustedLabel } from '../../attest-server/protocol/marks.ts';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import {
  at,
  type JsonObject,
  listAt,
  textAt,
  textsAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { pathOf } from '../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator, serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { kubectl, needsTools } from './kubernetes-tools.ts';
import { baseFolder, baseObjects } from './renderings.ts';

const docs = join(import.meta.dirname, '../../docs');
const page = readFileSync(join(docs, 'uninstall.md'), 'utf8');
const server = serviceAccount('assay', 'assay-server');
const untrusted = { key: 'assay.dev/untrusted', value: 'kernel_unknown', effect: 'NoSchedule' };
const foreign = { key: 'example.com/theirs', value: 'x', effect: 'NoSchedule' };

describe('what was installed by kubectl and is removed as docs/uninstall.md says', function () {
  this.timeout(120_000);
  let api: ApiServer;
  let kubeconfig: string;
  let earlier: ReadonlySet<string>;
  let installed: ReadonlySet<string>;
  let left: readonly string[];
  const kubectlAs = (line: string) => kubectl('--kubeconfig', kubeconfig, ...wordsOf(line));

  before(async function () {
    needsTools(this);
    api = await openApiServer();
    kubeconfig = await api.kubeconfig(administrator);
    await api.createNode('good', {
      labels: { [trustedLabel]: 'true' },
      conditions: [{ type: trustedCondition, status: 'True' }],
    });
    await api.createNode('bad', { taints: [foreign, untrusted] });
    earlier = objectsOf(api);
    const [apply = ''] = commandsBelow(readFileSync(join(docs, 'install.md'), 'utf8'), 'With Kustomize');
    await kubectlAs(apply);
    installed = objectsOf(api);
    for (const [collection, object] of madeByServer) {
      const { code, text } = await api.as(server).request('POST', collection, object);
      assert.equal(code, 201, text);
    }
    const ended = new AbortController();
    const controllers = control(api, ended.signal);
    try {
      for (const line of commandsBelow(page, 'Without Helm')) await kubectlAs(line);
    } finally {
      ended.abort();
      await controllers;
    }
    left = [...objectsOf(api)].filter((one) => !earlier.has(one));
  });
  after(() => api?.[Symbol.asyncDispose]());

  it('was there: everything of manifests/base', () => {
    const wanted = baseObjects().filter((object) => !isOfUnmark(object));
    assert.ok(wanted.length > 30);
    assert.deepEqual(
      wanted.map(shortNameOf).filter((name) => !installed.has(name)),
      [],
    );
  });

  it('leaves exactly what the page lists', () => {
    // No controller of StatefulSets runs here: the claim that one makes stays, as its policy says.
    const [set] = baseObjects().filter((one) => textAt(one, 'kind') === 'StatefulSet');
    assert.equal(textAt(set, 'spec', 'persistentVolumeClaimRetentionPolicy', 'whenDeleted'), 'Retain');
    const claims = listAt(set, 'spec', 'volumeClaimTemplates').map(
      (claim) => `persistentvolumeclaim/${textAt(claim, 'metadata', 'name')}-assay-server-0`,
    );
    assert.deepEqual([...left, ...claims].sort(), [...listedIn(page)].sort());
  });

  it('leaves no mark on any Node, and what others put there', async () => {
    const taintsOf = async (name: string) => {
      const { body } = await api.as(administrator).request('GET', `/api/v1/nodes/${name}`);
      assert.equal(at(body ?? {}, 'metadata', 'labels', trustedLabel), undefined);
      const types = listAt(body ?? {}, 'status', 'conditions').map((one) => textAt(one, 'type') ?? '');
      assert.deepEqual(
        types.filter((type) => type.startsWith('assay.dev/')),
        [],
      );
      return listAt(body ?? {}, 'spec', 'taints');
    };
    assert.deepEqual([await taintsOf('good'), await taintsOf('bad')], [[], [foreign]]);
  });

  it('can be installed again', async () => {
    await kubectlAs('apply --server-side --kustomize manifests/base');
    const again = objectsOf(api);
    assert.deepEqual(
      [...installed].filter((name) => !again.has(name)),
      [],
    );
  });
});

const isOfUnmark = (object: JsonObject) => textAt(object, 'metadata', 'name') === 'assay-unmark';

/** What it writes beside marks; its last lease has run out. */
const madeByServer: readonly (readonly [collection: string, object: JsonObject])[] = [
  [
    '/api/v1/namespaces/assay/configmaps',
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: checkpointConfig }, data: { checkpoint: 'x' } },
  ],
  [
    '/apis/coordination.k8s.io/v1/namespaces/assay/leases',
    {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'assay-server' },
      spec: {
        holderIdentity: 'server-1',
        leaseDurationSeconds: 30,
        renewTime: '2026-01-01T00:00:00.000000Z',
      },
    },
  ],
  [
    '/apis/assay.dev/v1alpha1/nodeattestations',
    { apiVersion: 'assay.dev/v1alpha1', kind: 'NodeAttestation', metadata: { name: 'good' } },
  ],
];

/** Does what controllers of a cluster would: runs Jobs, and ends namespaces that are deleted. */
async function control(api: ApiServer, signal: AbortSignal): Promise<void> {
  const admin = api.as(administrator);
  while (!signal.aborted) {
    for (const job of ofKind(api, 'Job')) await runJob(api, job);
    for (const namespace of ofKind(api, 'Namespace')) {
      if (at(namespace, 'metadata', 'deletionTimestamp') === undefined) continue;
      const name = textAt(namespace, 'metadata', 'name') ?? '';
      for (const table of api.store.tables())
        for (const [key] of api.store.list(table, `${name}/`)) api.store.remove(table, key);
      const spec = { finalizers: [] };
      await admin.request('PUT', `/api/v1/namespaces/${name}/finalize`, { ...namespace, spec });
    }
    await sleep(50, undefined, { signal }).catch(() => undefined);
  }
}

/** With the rights of its account, and nothing else. */
async function runJob(api: ApiServer, job: JsonObject): Promise<void> {
  if (listAt(job, 'status', 'conditions').length > 0) return;
  const namespace = textAt(job, 'metadata', 'namespace') ?? '';
  const pod = at(job, 'spec', 'template', 'spec');
  const account = serviceAccount(namespace, textAt(pod, 'serviceAccountName') ?? '');
  const [container] = listAt(pod, 'containers');
  assert.deepEqual(textsAt(container, 'command'), ['assay']);
  const where = ['--kubeconfig', await api.kubeconfig(account), '--namespace', namespace];
  const { code, err } = await runAssay([...textsAt(container, 'args'), ...where], { now: Date.now });
  const conditions = [{ type: code === 0 ? 'Complete' : 'Failed', status: 'True', message: err }];
  const reply = await api
    .as(administrator)
    .request('PATCH', `${pathOf(job)}/status`, { status: { conditions } }, 'application/merge-patch+json');
  assert.equal(reply.code, 200, reply.text);
}

function allObjects(api: ApiServer): readonly JsonObject[] {
  return api.store.tables().flatMap((table) => api.store.list(table).map(([, { object }]) => object));
}

function ofKind(api: ApiServer, kind: string): readonly JsonObject[] {
  return allObjects(api).filter((object) => textAt(object, 'kind') === kind);
}

/** But Events, which end by themselves. */
function objectsOf(api: ApiServer): ReadonlySet<string> {
  return new Set(
    allObjects(api)
      .filter((object) => textAt(object, 'kind') !== 'Event')
      .map(shortNameOf),
  );
}

/** As `kubectl get --output name` says it. */
function shortNameOf(object: JsonObject): string {
  const [group = '', version] = (textAt(object, 'apiVersion') ?? '').split('/');
  const kind = (textAt(object, 'kind') ?? '').toLowerCase();
  return `${version === undefined ? kind : `${kind}.${group}`}/${textAt(object, 'metadata', 'name')}`;
}

/** Lines of the first block of code below a heading. */
function commandsBelow(text: string, heading: string): readonly string[] {
  const [, section = ''] = text.split(`\n## ${heading}\n`);
  const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(section) ?? [];
  return block.trim().split('\n');
}

function wordsOf(line: string): readonly string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)]
    .map(([, quoted, plain]) => quoted ?? plain ?? '')
    .filter((word, index) => index > 0 || word !== 'kubectl')
    .map((word) => word.replace(/^manifests\/base/, baseFolder));
}

/** What the first column of the table of the cluster names. */
function listedIn(text: string): readonly string[] {
  const [, section = ''] = text.split('\n## What stays\n');
  const [table = ''] = /^\| stays [\s\S]*?\n\n/m.exec(section) ?? [];
  return table
    .split('\n')
    .flatMap((row) => [...(row.split(' | ')[0] ?? '').matchAll(/`([a-z.0-9]+\/[a-z.0-9-]+)`/g)])
    .map(([, name = '']) => name);
}
