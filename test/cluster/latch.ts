import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { at, isObject, type Json, type JsonObject, listAt } from '../../swtpm-fixtures/api-server/json.ts';
import { objectsOf } from '../../swtpm-fixtures/api-server/manifest-objects.ts';
import { eventually } from './installation.ts';
import { outcomeOf, type World } from './world.ts';

const latches = '/apis/assay.dev/v1alpha1/assaylatches';
const definition = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/assaylatches.assay.dev';
const first = { enabledAt: '2026-11-27T00:00:00Z', by: 'token:admin', groups: ['workers', 'gpu'] };

/** The latch grows and never shrinks, whoever asks: each request here is an administrator's. */
export function describeLatch(worldOf: () => World): void {
  describe('the latch', () => {
    let world: World;
    const made = (name: string, spec: Json) => ({
      apiVersion: 'assay.dev/v1alpha1',
      kind: 'AssayLatch',
      metadata: { name },
      spec,
    });
    const created = (object: Json) =>
      world.ask({ method: 'POST', path: `${latches}?fieldValidation=Strict&dryRun=All`, body: object });
    const changed = (spec: Json, query = 'dryRun=All', path = `${latches}/cluster`) =>
      world.ask({
        method: 'PATCH',
        path: `${path}?${query}`,
        body: { spec },
        contentType: 'application/merge-patch+json',
      });
    const removed = (path: string) => world.ask({ method: 'DELETE', path: `${path}?dryRun=All` });
    before(async () => {
      world = worldOf();
      const reply = await world.ask({ method: 'POST', path: latches, body: made('cluster', first) });
      assert.equal(reply.code, 201, reply.text);
      await eventually('the policy on the latch acts', async () =>
        outcomeOf(await removed(`${latches}/cluster`)) === 'assay-latch' ? true : null,
      );
    });

    it('is one, and whole', async () => {
      const wrong: readonly (readonly [Json, code: number])[] = [
        [made('another', first), 422],
        [made('cluster2', {}), 422],
        [made('cluster', { ...first, groups: ['a', 'a'] }), 422],
        [made('cluster', { ...first, until: first.enabledAt }), 400],
      ];
      for (const [object, code] of wrong) {
        const reply = await created(object);
        assert.equal(reply.code, code, `${JSON.stringify(object)}: ${reply.text}`);
      }
    });

    it('grows', async () => {
      for (const groups of [['gpu', 'workers', 'edge'], []]) {
        assert.equal(outcomeOf(await changed({ groups })), 'allowed');
      }
    });

    it('never shrinks, and keeps who enabled it and when', async () => {
      const shrunk: readonly Json[] = [
        { groups: ['workers'] },
        { groups: ['workers', 'edge'] },
        { by: 'token:other' },
        { enabledAt: '2026-11-28T00:00:00Z' },
        { groups: null },
      ];
      for (const spec of shrunk) {
        assert.match(outcomeOf(await changed(spec)), /^assay-latch$|^422 Invalid/, JSON.stringify(spec));
      }
    });

    it('is deleted by nobody, alone or with all others (row 105)', async () => {
      assert.equal(outcomeOf(await removed(`${latches}/cluster`)), 'assay-latch');
      assert.equal(outcomeOf(await removed(latches)), 'assay-latch');
    });

    it('keeps its definition, which may change in words alone', async () => {
      assert.equal(outcomeOf(await removed(definition)), 'assay-latch');
      const versions = versionsOfDefinition((version) => ({ ...version, served: false }));
      assert.match(
        outcomeOf(await changed({ versions }, 'dryRun=All', definition)),
        /^assay-latch$|^422 Invalid/,
      );
      assert.equal(
        outcomeOf(await changed({ names: { shortNames: ['latch'] } }, 'dryRun=All', definition)),
        'allowed',
      );
    });

    it('covers all groups for good once it does', async () => {
      assert.equal(outcomeOf(await changed({ groups: [] }, 'fieldValidation=Strict')), 'allowed');
      assert.match(outcomeOf(await changed({ groups: ['workers'] })), /^assay-latch$|^422 Invalid/);
    });

    it('is held by admission where its definition lost its rules', async () => {
      const versions = versionsOfDefinition((version) => ({ ...version, schema: { openAPIV3Schema: bare } }));
      assert.equal(outcomeOf(await changed({ versions }, 'fieldValidation=Strict', definition)), 'allowed');
      for (const spec of [
        { groups: ['workers'] },
        { by: 'token:other' },
        { enabledAt: '2026-11-28T00:00:00Z' },
      ]) {
        await eventually(`the policy alone refuses ${JSON.stringify(spec)}`, async () => {
          const outcome = outcomeOf(await changed(spec));
          assert.notEqual(outcome, 'allowed');
          return outcome === 'assay-latch' ? true : null;
        });
      }
    });
  });
}

const bare = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };

function versionsOfDefinition(change: (version: JsonObject) => JsonObject): Json {
  const [object] = objectsOf('crds/assaylatches.yaml');
  return listAt(at(object, 'spec'), 'versions').filter(isObject).map(change);
}
