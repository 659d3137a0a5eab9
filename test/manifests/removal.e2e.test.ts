import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { checkpointConfig, trustedCondition, trustedLabel } from '../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { at, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { administrator, serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { namesIn, runUnmark, shortNameOf, startControllers } from './controllers.ts';
import { openHelmDoor } from './helm-door.ts';
import { chartFolder, helm, kubectl, needsTools } from './kubernetes-tools.ts';
import { baseFolder, baseObjects } from './renderings.ts';

const docs = join(import.meta.dirname, '../../docs');
const page = readFileSync(join(docs, 'uninstall.md'), 'utf8');
const untrusted = { key: 'assay.dev/untrusted', value: 'kernel_unknown', effect: 'NoSchedule' };
const foreign = { key: 'example.com/theirs', value: 'x', effect: 'NoSchedule' };

/** How people install Assay and remove it, as the pages say. */
interface Way {
  readonly install: (api: ApiServer) => Promise<void>;
  readonly remove: (api: ApiServer) => Promise<void>;
}

const byKubectl: Way = {
  async install(api) {
    const [line = ''] = commandsBelow(readFileSync(join(docs, 'install.md'), 'utf8'), 'With Kustomize');
    await type(api, line);
  },
  async remove(api) {
    for (const line of commandsBelow(page, 'Without Helm')) await type(api, line);
  },
};

const byHelm: Way = {
  async install(api) {
    await using door = await openHelmDoor(api);
    await helm('upgrade', '--install', 'assay', chartFolder, '--kube-apiserver', door.url);
  },
  async remove(api) {
    await using door = await openHelmDoor(api);
    await helm('uninstall', 'assay', '--kube-apiserver', door.url);
  },
};

for (const [how, way] of [
  ['kubectl', byKubectl],
  ['Helm', byHelm],
] as const)
  describe(`what ${how} installed and removed, as the pages say`, function () {
    this.timeout(120_000);
    let api: ApiServer;
    let earlier: ReadonlySet<string>;
    let installed: ReadonlySet<string>;
    let left: readonly string[];

    before(async function () {
      needsTools(this);
      api = await openApiServer();
      await api.createNode('good', {
        labels: { [trustedLabel]: 'true' },
        conditions: [{ type: trustedCondition, status: 'True' }],
      });
      await api.createNode('bad', { taints: [foreign, untrusted] });
      earlier = namesIn(api);
      await using _ = startControllers(api, runJob);
      await way.install(api);
      installed = namesIn(api);
      for (const [collection, object] of madeByServer) {
        const server = serviceAccount('assay', 'assay-server');
        const { code, text } = await api.as(server).request('POST', collection, object);
        assert.equal(code, 201, text);
      }
      await way.remove(api);
      left = [...namesIn(api)].filter((one) => !earlier.has(one));
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

    it('leaves exactly what docs/uninstall.md lists', () => {
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
          types.filter((one) => one.startsWith('assay.dev/')),
          [],
        );
        return listAt(body ?? {}, 'spec', 'taints');
      };
      assert.deepEqual([await taintsOf('good'), await taintsOf('bad')], [[], [foreign]]);
    });

    it('can be installed again', async () => {
      await using _ = startControllers(api, runJob);
      await way.install(api);
      const again = namesIn(api);
      assert.deepEqual(
        [...installed].filter((name) => !again.has(name)),
        [],
      );
    });
  });

const isOfUnmark = (object: JsonObject) => textAt(object, 'metadata', 'name') === 'assay-unmark';

/** The look at settings finds nothing. */
async function runJob(api: ApiServer, job: JsonObject): Promise<string | null> {
  return isOfUnmark(job) ? await runUnmark(api, job) : null;
}

/** What a server writes beside marks; its last lease has run out. */
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

/** Lines of the first block of code below a heading. */
function commandsBelow(text: string, heading: string): readonly string[] {
  const [, section = ''] = text.split(`\n## ${heading}\n`);
  const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(section) ?? [];
  return block.trim().split('\n');
}

/** A line of a page, as the administrator. */
async function type(api: ApiServer, line: string): Promise<void> {
  const [program, ...words] = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(
    ([, quoted, plain]) => quoted ?? plain ?? '',
  );
  assert.equal(program, 'kubectl', line);
  const args = words.map((word) => word.replace(/^manifests\/base/, baseFolder));
  await kubectl('--kubeconfig', await api.kubeconfig(administrator), ...args);
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
