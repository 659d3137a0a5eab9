import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parse } from 'yaml';
import { z } from 'zod';
import { defaultTaintKeys } from '../../../attest-server/formats/marks.ts';
import { type JsonObject, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { type ForgedSite, openForgedSite } from './forged-site.ts';

const boot = recordedLog('debian13-sdboot-uki');
const own = 'node-1';
const nodes = [own, 'node-2', 'node-3'];
/** As its kubelet was told to register it. */
const taints = [{ key: defaultTaintKeys.pending, effect: 'NoSchedule' }];

const tolerationSchema = z.strictObject({
  key: z.string(),
  operator: z.literal('Exists'),
  effect: z.enum(['NoSchedule']),
});

/** What docs/marks.md has people give to the pods that a cold start needs. */
function documentedTolerations(): readonly z.infer<typeof tolerationSchema>[] {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/marks.md'), 'utf8');
  const block =
    /^tolerations:\n(?: .+\n)+/m.exec(page)?.[0] ?? assert.fail('docs/marks.md has no tolerations');
  return z.object({ tolerations: z.array(tolerationSchema) }).parse(parse(block)).tolerations;
}

/**
 * As the scheduler decides it: each taint that keeps new pods away must be tolerated. Those of Kubernetes itself
 * come and go with the machine: a new Node is not ready.
 */
function takes(node: JsonObject, tolerations: ReturnType<typeof documentedTolerations>): boolean {
  return listAt(node, 'spec', 'taints')
    .filter((taint) => textAt(taint, 'key')?.startsWith('node.kubernetes.io/') === false)
    .every((taint) =>
      tolerations.some(
        ({ key, effect }) => key === textAt(taint, 'key') && effect === textAt(taint, 'effect'),
      ),
    );
}

describe('a cold start of a whole site, with the server in its cluster', () => {
  const tolerations = documentedTolerations();
  let site: ForgedSite;
  /** Nodes that the server's own pod could not have come to, at any time. */
  const closed = new Set<string>();
  const nodeOf = (name: string) => site.api.store.get('/nodes', name)?.object ?? assert.fail(name);
  before(async () => {
    site = await openForgedSite({ ownNode: own });
    for (const name of nodes) await site.add(name, { taints });
    site.api.store.listen(({ table, key, after: node }) => {
      if (table === '/nodes' && node !== null && !takes(node.object, tolerations)) closed.add(key);
    });
  });
  after(() => site?.[Symbol.asyncDispose]());

  it('begins with Nodes that no other pod may come to', async () => {
    for (const name of nodes) {
      assert.equal(takes(nodeOf(name), []), false, name);
      assert.equal(takes(nodeOf(name), tolerations), true, name);
    }
  });

  it('frees every Node once it is proven, its own one too', async () => {
    await site.answer(own, boot, 7);
    await site.world.call('POST', '/v1/references', { node: own, name: 'good' });
    for (const name of nodes) assert.equal(await site.answer(name, boot, 7), 'trusted');
    await site.reaches(own, '-');
    for (const name of ['node-2', 'node-3']) await site.reaches(name, 'label True');
  });

  it('heals by itself after a power cut, although the server is there before the API is', async () => {
    const { api, world } = site;
    await world.restart(async () => {
      await api.stop();
      // Registered anew meanwhile, as where the store of the cluster was restored.
      await api.as(administrator).request('DELETE', '/api/v1/nodes/node-3');
      await api.createNode('node-3', { taints });
    });
    for (const name of [own, 'node-2']) assert.equal(await site.answer(name, boot, 8), 'trusted');
    await api.start();
    await site.reaches(own, '-');
    await site.reaches('node-2', 'label True');
    await site.world.until(
      () => site.marksOf('node-3').includes('pending') || site.marksOf('node-3').includes('reproving'),
    );
    assert.equal(await site.answer('node-3', boot, 8), 'trusted');
    await site.reaches('node-3', 'label True');
    for (const name of nodes) assert.equal(takes(nodeOf(name), []), true, name);
  });

  it('kept its own pod from no Node at any time', () => {
    assert.deepEqual([...closed], []);
  });
});
