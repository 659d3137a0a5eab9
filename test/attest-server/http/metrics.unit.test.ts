import assert from 'node:assert/strict';
import { request } from 'node:http';
import { describe, it } from 'mocha';
import { listenPlainly } from '../../../attest-server/http/listen.ts';
import { nodeView } from '../../../attest-server/http/node-view.ts';
import { createProbes } from '../../../attest-server/http/probes.ts';
import { createMetrics } from '../../../attest-server/telemetry/metrics.ts';
import { quietDoor } from '../door/quiet-door.ts';
import { emptyWorld, enrolled, now, portsOf, reasonOf, statusOf, verdictOf } from './api-fixture.ts';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads the Prometheus text format; a line that is none is a failure. */
function parseSamples(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', labels = '', value = ''] =
        /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? assert.fail(line);
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', word = '']) => [
        key,
        word,
      ]);
      return { name, labels: Object.fromEntries(pairs), value: Number(value) };
    });
}

const trusted = nodeView(statusOf('node-1', verdictOf()), enrolled('node-1'), now, null);
const broken = nodeView(
  statusOf(
    'node-2',
    verdictOf({
      state: 'untrusted',
      reasons: [reasonOf('kernel_unknown')],
      aspects: {
        identity: { status: 'affirming', source: 'tpm' },
        boot: { status: 'contraindicated', source: 'tpm' },
      },
    }),
  ),
  enrolled('node-2'),
  now,
  null,
);

describe('the metrics', () => {
  it('tell the states of the nodes, and forget a node that is gone', async () => {
    const metrics = createMetrics({ version: '0.1.0' });
    metrics.nodeStates([trusted, broken]);
    const value = async (name: string, labels: object) =>
      parseSamples(await metrics.text()).find(
        (sample) => sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels),
      )?.value;
    assert.equal(await value('assay_nodes', { state: 'trusted' }), 1);
    assert.equal(await value('assay_nodes', { state: 'untrusted' }), 1);
    assert.equal(await value('assay_node_trusted', { node: 'node-2' }), 0);
    assert.equal(await value('assay_nodes_failing_check', { check: 'boot' }), 1);
    assert.equal(
      await value('assay_node_last_success_timestamp_seconds', { node: 'node-1' }),
      now / 1000 - 5,
    );
    metrics.nodeStates([broken]);
    assert.equal(await value('assay_node_last_success_timestamp_seconds', { node: 'node-1' }), undefined);
    assert.equal(await value('assay_node_trusted', { node: 'node-1' }), undefined);
    assert.equal(await value('assay_nodes', { state: 'trusted' }), 0);
  });

  it('take labels from closed sets, whatever agents and callers say', async () => {
    const metrics = createMetrics({ version: '0.1.0' });
    const said = ['0.1.0', 'x"} 1\nevil 1', ...Array.from({ length: 50 }, (_, i) => `9.9.${i}`)];
    metrics.agents(new Map(said.map((version) => [version, 1])));
    metrics.request('EVIL\n', '/v1/nodes', 200, 0.1);
    metrics.attested('rejected', 'sig_invalid');
    metrics.attested('accepted', null);
    metrics.refused('malformed');
    const samples = parseSamples(await metrics.text());
    const versions = samples
      .filter(({ name }) => name === 'assay_agents')
      .map(({ labels }) => labels.version);
    assert.ok(versions.length <= 17);
    assert.ok(versions.includes('other'));
    const methods = new Set(samples.flatMap(({ labels }) => labels.method ?? []));
    assert.deepEqual([...methods], ['other']);
  });

  it('all have the prefix assay_, and counters end in _total', async () => {
    const text = await createMetrics({ version: '0.1.0' }).text();
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => ({
      name,
      type,
    }));
    assert.ok(types.length >= 15);
    for (const { name, type } of types) {
      assert.ok(name.startsWith('assay_'));
      assert.equal(name.endsWith('_total'), type === 'counter');
    }
  });

  it('are served beside the probes, counted at the moment of the scrape', async () => {
    const world = emptyWorld();
    world.nodes.set('node-1', {
      enrolled: enrolled('node-1'),
      status: statusOf('node-1', verdictOf(), { expiresAt: now - 1 }),
    });
    const metrics = createMetrics({ version: '0.1.0' });
    await using listening = await listenPlainly(
      createProbes({ ...portsOf(world), metrics }),
      { host: '127.0.0.1', port: 0 },
      quietDoor(),
    );
    const text = await get(listening.port, '/metrics');
    assert.match(text.body, /^assay_nodes\{state="unknown"\} 1$/m);
    assert.match(text.body, /^assay_node_trusted\{node="node-1"\} 0$/m);
    assert.equal((await get(listening.port, '/livez')).status, 200);
    world.ready = { ok: false, reason: 'no store' };
    assert.equal((await get(listening.port, '/readyz')).status, 503);
    assert.equal((await get(listening.port, '/v1/nodes')).status, 404);
  });
});

function get(port: number, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    asked.on('error', reject);
    asked.end();
  });
}
