import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import type { EndedConnection } from '../../../attest-server/formats/silence.ts';
import {
  type ApiServer,
  ask,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from './api-fixture.ts';

const node = 'node-1';
const end: EndedConnection = {
  at: now - 400_000,
  heardAt: now - 430_000,
  by: 'agent',
  status: 1011,
  reason: null,
};
const commandsIn = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('  '))
    .map((line) => line.trim());

const hostUnits = join(import.meta.dirname, '../../../manifests/host');
const unitsIn = (advice: string) =>
  [...advice.matchAll(/^ {2}(?:systemctl \w+|journalctl -u) (\S+)/gm)].map(([, name]) => `${name}.service`);

describe('a silent node', () => {
  let world: World;
  let server: ApiServer;
  before(async () => {
    world = emptyWorld();
    server = await startApi(world);
  });
  after(() => server.close());
  beforeEach(() => {
    for (const map of [world.ended, world.connected, world.kubelets]) map.clear();
    world.lastSeen.set(node, { address: '10.0.0.1', agent: '0.4.0' });
    world.nodes.set(node, {
      enrolled: enrolled(node),
      status: statusOf(node, verdictOf(), { verifiedAt: now - 600_000, expiresAt: now - 420_000 }),
    });
  });
  const view = async () => nodeView.parse(JSON.parse((await ask(server, `/v1/nodes/${node}`)).text));

  const faces: readonly [string, Partial<EndedConnection>, RegExp, string][] = [
    [
      'its agent says that its broker does not answer',
      { reason: 'tpm_broker' },
      /closed the connection at 2026-11-20T11:53:20\.000Z, and said that its TPM broker does not answer\.$/,
      'systemctl status assay-tpm-broker',
    ],
    [
      'its agent says that its TPM fails',
      { reason: 'tpm' },
      /and said that its TPM does not do what it is asked\.$/,
      'ls -l /dev/tpmrm0',
    ],
    [
      'its agent was told to stop',
      { status: 1001, reason: 'stopped' },
      /and said that it was told to stop\.$/,
      'systemctl start assay-agent',
    ],
    [
      'its agent closed, and said nothing that is known',
      {},
      /its agent closed the connection at \S+ \(status 1011\)\.$/,
      'systemctl status assay-agent',
    ],
    [
      'its agent was killed',
      { by: 'reset', status: null },
      /its connection broke off at 2026-11-20T11:53:20\.000Z, without a goodbye\.$/,
      'systemctl status assay-agent',
    ],
    [
      'its machine is off',
      { by: 'timeout', status: null },
      /nothing has come from it since 2026-11-20T11:52:50\.000Z\.$/,
      'ping -c 3 10.0.0.1',
    ],
    [
      'the server refused it',
      { by: 'server', status: 1008, reason: 'malformed' },
      /this server closed its connection at \S+ \(malformed\)\.$/,
      `assay audit list --node ${node} --since 1d`,
    ],
  ];
  for (const [what, change, text, first] of faces)
    it(`says that ${what}, and begins there`, async () => {
      world.ended.set(node, { ...end, ...change });
      const { state, reasons, disconnected } = await view();
      assert.equal(state, 'unknown');
      assert.equal(reasons[0]?.code, 'evidence_overdue');
      assert.match(reasons[0].text, text);
      assert.equal(commandsIn(reasons[0].next ?? '')[0], first);
      for (const unit of unitsIn(reasons[0].next ?? '')) assert.ok(existsSync(join(hostUnits, unit)), unit);
      assert.deepEqual(disconnected, {
        at: '2026-11-20T11:53:20.000Z',
        by: change.by ?? 'agent',
        status: change.status === undefined ? 1011 : change.status,
        reason: change.reason ?? null,
      });
    });

  it('may be connected: its TPM keeps it where it is heard, its machine where it is not', async () => {
    const connected = { address: '10.0.0.1', agent: '0.4.0', since: now - 900_000 };
    world.connected.set(node, { ...connected, heardAt: now - 9_000 });
    const heard = (await view()).reasons[0];
    assert.match(
      heard?.text ?? '',
      /agent connected at 2026-11-20T11:45:00\.000Z and was last heard at 2026-11-20T11:59:51\.000Z, but does not answer\.$/,
    );
    assert.equal(commandsIn(heard?.next ?? '')[0], 'systemctl status assay-tpm-broker');
    world.connected.set(node, { ...connected, heardAt: now - 90_000 });
    assert.equal(commandsIn((await view()).reasons[0]?.next ?? '')[0], 'ping -c 3 10.0.0.1');
  });

  it('says that the server started since, and what it does not know for that', async () => {
    const { reasons, heardAt, disconnected } = await view();
    assert.match(
      reasons[0]?.text ?? '',
      /^The node has not proven itself lately\. This server started at \S+Z, and the node has not connected since, so it is not known how its connection ended\.$/,
    );
    assert.deepEqual([heardAt, disconnected], [null, null]);
  });

  it('keeps how its connection ended where that was stored before the server started', async () => {
    const text =
      'The node has not proven itself lately: nothing has come from it since 2026-11-20T11:50:00.000Z.';
    const overdue = verdictOf({ state: 'unknown', reasons: [reasonOf('evidence_overdue', { text })] });
    world.nodes.set(node, { enrolled: enrolled(node), status: statusOf(node, overdue) });
    assert.match(
      (await view()).reasons[0]?.text ?? '',
      /^The node .* since 2026-11-20T11:50:00\.000Z\. This server started at \S+Z, and the node has not connected since\.$/,
    );
  });

  it('in a cluster says how its kubelet is, by the word of the cluster', async () => {
    world.ended.set(node, { ...end, by: 'reset' });
    for (const [status, text] of [
      ['True', /Its kubelet is Ready, as the cluster has it/],
      ['False', /Its kubelet says that it is not Ready/],
      ['Unknown', /Its kubelet is silent, too\.$/],
    ] as const) {
      world.kubelets.set(node, status);
      const { kubeletReady, reasons } = await view();
      assert.equal(kubeletReady, status);
      assert.match(reasons[0]?.text ?? '', text);
      assert(
        commandsIn(reasons[0]?.next ?? '').some((line) =>
          line.startsWith('kubectl --namespace assay-agents get pods'),
        ),
      );
    }
  });

  it('of a trusted node nothing of it is a reason', async () => {
    world.nodes.set(node, { enrolled: enrolled(node), status: statusOf(node, verdictOf()) });
    world.ended.set(node, { ...end, reason: 'tpm_broker' });
    const { state, reasons, disconnected } = await view();
    assert.deepEqual([state, reasons, disconnected?.reason], ['trusted', [], 'tpm_broker']);
  });
});
