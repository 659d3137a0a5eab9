import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { binaryFrame } from '../../attest-server/protocol/messages.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { introduce } from '../attest-server/attacker.ts';
import { type ForgedTpm, forgedTpm } from '../attest-server/forged-tpm.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { assertFires, promtoolOn, readRules, type Scraped } from './promtool.ts';

const log = recordedLog('debian13-shim-grub');
const instance = 'assay:9464';

interface Sample {
  readonly name: string;
  /** As text, with braces; empty where there are none. */
  readonly labels: string;
  readonly value: string;
}

describe('the alert rules on what a real server tells', () => {
  let world: TestServer;
  let samples: readonly Sample[] = [];
  before(async () => {
    world = await startTestServer();
    const [first, second] = [forgedTpm(), forgedTpm()];
    await boot('node-1', first, log);
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' });
    await boot('node-1', first, log);
    await boot('node-2', second, tamper(log, 'kernel'));
    samples = samplesIn(await world.metrics());
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function boot(node: string, tpm: ForgedTpm, bootLog: Buffer): Promise<void> {
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    if (!challenge.holds.includes(hash('sha256', bootLog, 'hex'))) peer.send(binaryFrame('bootLog', bootLog));
    const { hello, channel } = peer;
    const sha256 = replayedValues(bootLog, 'sha256');
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256 } });
    peer.send(tpm.evidence(challenge, { node, hello, channel, bootLog }, { quote }));
    await peer.verdict();
    await peer.close();
  }

  it('name the changed node and its code, and no other node (row 45)', async () => {
    const scraped = samples.map(({ name, labels, value }): Scraped[number] => {
      const own = `instance="${instance}"${labels === '' ? '' : `,${labels.slice(1, -1)}`}`;
      // Nodes go on to answer.
      const isAnswered = name === 'assay_attestations_total' && labels.includes('"accepted"');
      return [`${name}{${own}}`, `${value}${isAnswered ? '+1' : ''}x60`];
    });
    const labels = { instance, node: 'node-2', code: 'kernel_unknown', class: 'drift', signed: 'false' };
    await assertFires(scraped, '1h', [{ alert: 'AssayNodeChanged', labels }]);
  });

  it('are asked of a text that Prometheus reads without a remark', async () => {
    // Those of the runtime are named by prom-client.
    const lines = (await world.metrics()).split('\n').filter((line) => !/^(?:# \w+ )?nodejs_/.test(line));
    assert.equal(await promtoolOn(`${lines.join('\n')}\n`, 'check', 'metrics'), '');
  });

  it('ask for nothing that no server tells: each series is there, with these labels', async () => {
    const faults: string[] = [];
    for (const { alert, expr } of await readRules())
      for (const [selector, name = '', matchers = ''] of expr.matchAll(/\b(assay_\w+)(?:\{([^}]*)\})?/g)) {
        const wanted = [...matchers.matchAll(/(\w+)(=~|!=|=)"([^"]*)"/g)];
        const found = samples.filter(
          (sample) =>
            sample.name === name &&
            wanted.every(([, label = '', how, value = '']) => {
              const own = new RegExp(`[{,]${label}="([^"]*)"`).exec(sample.labels)?.[1];
              if (how === '=') return own === value || openLabels.has(`${name} ${label}`);
              return own !== undefined;
            }),
        );
        if (found.length === 0) faults.push(`${alert}: ${selector}`);
      }
    assert.deepEqual(faults, []);
  });

  it('name in their words only labels that an alert has', async () => {
    const known = new Set([
      ...samples.flatMap(({ labels }) => [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label)),
      'instance',
    ]);
    for (const { alert, annotations } of await readRules())
      for (const [, label] of Object.values(annotations)
        .join(' ')
        .matchAll(/\$labels\.(\w+)/g))
        assert.ok(known.has(label), `${alert}: ${label}`);
  });
});

/** Closed lists of which not every word has a series at a time. */
const openLabels: ReadonlySet<string> = new Set([
  'assay_node_reason_info class',
  'assay_node_reason_info signed',
]);

function samplesIn(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('assay_'))
    .map((line) => {
      const [, name = '', labels = '', value = ''] = /^(\w+)(\{.*\})? (\S+)$/.exec(line) ?? assert.fail(line);
      return { name, labels, value };
    });
}
