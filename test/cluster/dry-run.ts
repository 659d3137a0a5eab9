import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { at, isObject, type JsonObject, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { collectionOf, pathOf } from '../../swtpm-fixtures/api-server/manifest-objects.ts';
import { podOf } from '../manifests/pod-security.ts';
import { allManifests, manifestsCalled } from '../manifests/renderings.ts';
import { monitoringDefinitions } from '../manifests/schema/monitoring-resources.ts';
import { eventually } from './installation.ts';
import type { World } from './world.ts';

/** All that the base and the chart make, as the API would take it: asked with unknown members refused, and kept by nobody. */
export function describeDryRun(worldOf: () => World): void {
  describe('what is installed', () => {
    let world: World;
    before(async () => {
      world = worldOf();
      await makeMonitoring(world);
    });

    // Of the namespaces that the installation made.
    for (const { name, objects } of allManifests.filter((one) => !one.name.endsWith('minimal')))
      it(`is taken as it is: ${name}`, async function () {
        const all = await objects(this);
        await makeAccounts(world, all);
        const refused = await Promise.all(all.map((object) => refusalsOf(world, object)));
        assert.deepEqual(refused.flat(), []);
      });

    it('is refused where a member is misspelt', async function () {
      const all = await manifestsCalled('the base').objects(this);
      const object =
        all.find((one) => textAt(one, 'kind') === 'StatefulSet') ?? assert.fail('there is no StatefulSet');
      const spec = at(object, 'spec');
      const [refusal = ''] = await refusalsOf(world, {
        ...object,
        spec: { ...(isObject(spec) && spec), replicass: 1 },
      });
      assert.match(refusal, /spec\.replicass/);
    });

    it('makes pods that their namespaces take', async function () {
      const refused: string[] = [];
      for (const object of await manifestsCalled('the base').objects(this)) {
        const [kind, pod] = [textAt(object, 'kind'), podOf(object)];
        if (pod === null || (kind !== 'StatefulSet' && kind !== 'DaemonSet')) continue;
        const namespace = textAt(object, 'metadata', 'namespace') ?? '';
        // Volumes of claims are added by the controller.
        const made = kind === 'StatefulSet' ? withClaim(pod) : pod;
        refused.push(
          ...(await refusalsOf(world, {
            apiVersion: 'v1',
            kind: 'Pod',
            metadata: { name: world.named('pod'), namespace },
            spec: made,
          })),
        );
      }
      assert.deepEqual(refused, []);
    });
  });
}

/** What an API server says against an object, by server-side apply, since some of them are there. */
async function refusalsOf(world: World, object: JsonObject): Promise<readonly string[]> {
  const query = 'dryRun=All&fieldValidation=Strict&fieldManager=assay-test&force=true';
  const { code, text } = await world.ask({
    method: 'PATCH',
    path: `${pathOf(object)}?${query}`,
    body: object,
    contentType: 'application/apply-patch+yaml',
  });
  return code === 200 || code === 201 ? [] : [`${pathOf(object)}: ${code} ${text.slice(0, 500)}`];
}

/** A dry run keeps no account, and no pod is taken whose account is not there. */
async function makeAccounts(world: World, objects: readonly JsonObject[]): Promise<void> {
  const isKind = (kind: string) => (object: JsonObject) => textAt(object, 'kind') === kind;
  for (const pod of objects.filter(isKind('Pod'))) {
    const name = textAt(pod, 'spec', 'serviceAccountName');
    const namespace = textAt(pod, 'metadata', 'namespace');
    const account = objects
      .filter(isKind('ServiceAccount'))
      .find(
        ({ metadata }) => textAt(metadata, 'name') === name && textAt(metadata, 'namespace') === namespace,
      );
    if (account === undefined) continue;
    const { code } = await world.ask({ method: 'GET', path: pathOf(account) });
    if (code === 404) await world.installation.make(account);
  }
}

/** Where the cluster has no Prometheus operator, its kinds are defined as far as the chart uses them. */
async function makeMonitoring(world: World): Promise<void> {
  const { code } = await world.ask({ method: 'GET', path: '/apis/monitoring.coreos.com/v1' });
  if (code === 200) return;
  for (const definition of monitoringDefinitions) {
    await world.installation.make(definition);
    const kind = textAt(definition, 'spec', 'names', 'kind') ?? '';
    const path = collectionOf({
      apiVersion: 'monitoring.coreos.com/v1',
      kind,
      metadata: { namespace: 'default' },
    });
    await eventually(`${path} is there`, async () =>
      (await world.ask({ method: 'GET', path })).code === 200 ? true : null,
    );
  }
}

function withClaim(pod: JsonObject): JsonObject {
  const volumes = at(pod, 'volumes');
  const claimed = { name: 'state', persistentVolumeClaim: { claimName: 'state-assay-server-0' } };
  return { ...pod, volumes: [...(Array.isArray(volumes) ? volumes : []), claimed] };
}
