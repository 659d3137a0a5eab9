import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { authorityView } from '../../../attest-server/api/authority-api.ts';
import { authorityDigest } from '../../../attest-server/wire/authority.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { vouchFor } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { type KeptAgent, startKeptAgent } from './kept-agent.ts';

const log = recordedLog('debian13-shim-grub');
const node = 'node-1';
const patience = 60_000;

/** Each test goes on where the one before it ended. */
describe('one authority of the server follows another, end to end', () => {
  let world: TestServer;
  let machine: FixtureMachine;
  let folder = '';
  let old = '';
  let agent: KeptAgent | null = null;
  before(async () => {
    [world, machine, folder] = await Promise.all([
      startTestServer(),
      startMachine({ log }),
      mkdtemp(join(tmpdir(), 'assay-authority-')),
    ]);
    old = authorityDigest(new X509Certificate(world.ca));
    await writeFile(join(folder, 'ca.pem'), world.ca);
    await vouchFor(world, machine, node);
  });
  after(async () => {
    await agent?.stop();
    await world?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  /** An agent whose file of the authority nobody touches. */
  function start(state: string): KeptAgent {
    return startKeptAgent({ node, world, machine, folder, state, caFile: 'ca.pem' });
  }

  const view = async () => authorityView.parse(await world.call('GET', '/v1/authority'));
  const kept = () => readFile(join(folder, 'state', 'server-authorities.json'), 'utf8');
  const adminToken = async () => (await readFile(join(world.stateDir, 'admin.token'), 'utf8')).trim();
  const tokenDigest = async () => (await world.joinToken('node-9')).split('.').at(-1);

  it('makes the next one, and does not use it while a connected agent was not told', async () => {
    agent = start('state');
    await world.until(() => (agent?.verdicts() ?? 0) > 0, patience);
    assert.deepEqual((await view()).stage, 'settled');
    await world.call('POST', '/v1/authority/rotate', {});
    const { stage, untold, waitingFor, authorities } = await view();
    assert.deepEqual({ stage, untold, waitingFor }, { stage: 'announced', untold: 1, waitingFor: [node] });
    assert.deepEqual([authorities[0]?.digest, authorities.length], [old, 2]);
    for (const step of ['finish', 'rotate', 'retire'])
      assert.equal((await world.ask('POST', `/v1/authority/${step}`, await adminToken(), {})).status, 409);
    assert.equal(await tokenDigest(), old);
  });

  it('tells the agent with its next verdict, which keeps both and says so', async () => {
    world.server.challengeNow();
    await world.until(async () => (await view()).untold === 0, patience);
    assert.equal((await stat(join(folder, 'state', 'server-authorities.json'))).mode & 0o777, 0o600);
  });

  it('remembers over its restart who was told, by what the agents say', async () => {
    const before = agent?.verdicts() ?? 0;
    await world.restart();
    await world.until(() => (agent?.verdicts() ?? 0) > before, patience);
    assert.equal((await view()).untold, 0);
  });

  it('uses the new one, and the agent comes back under it, trusted, touched by nobody', async () => {
    await world.call('POST', '/v1/authority/finish', {});
    const { stage, authorities } = await view();
    assert.deepEqual([stage, authorities[1]?.digest], ['in_force', old]);
    assert.equal(await tokenDigest(), authorities[0]?.digest);
    const before = agent?.verdicts() ?? 0;
    await world.restart();
    await world.until(() => (agent?.verdicts() ?? 0) > before, patience);
    assert.equal((await world.status(node))?.state, 'trusted');
    assert.equal((await view()).untold, 0);
  });

  it('is refused by an agent that was away meanwhile, which says what to do', async () => {
    const late = start('late');
    await world.until(() => late.lines.length > 0, patience);
    await late.stop();
    assert.equal(late.verdicts(), 0);
    assert.match(late.lines.join(''), /"code":"connect_failed".*caFile/);
  });

  it('is dropped by the agent once it is retired, though the file of the agent still holds it', async () => {
    await world.call('POST', '/v1/authority/retire', {});
    world.server.challengeNow();
    await world.until(async () => (await kept()).includes(`"retired":["${old}"]`), patience);
    const { stage, authorities } = await view();
    assert.deepEqual([stage, authorities.length], ['settled', 1]);
    const before = agent?.verdicts() ?? 0;
    await world.restart();
    await world.until(() => (agent?.verdicts() ?? 0) > before, patience);
  });

  it('tells in the metrics until when it and the certificate of the server are good', async () => {
    for (const [certificate, days] of [
      ['authority', 3650],
      ['server', 365],
    ] as const) {
      const until = await world.metric(
        `assay_certificate_expiry_timestamp_seconds{certificate="${certificate}"}`,
      );
      assert.equal(Math.round((until - Date.now() / 1000) / 86_400), days);
    }
  });

  it('stands in the audit log with who did it', async () => {
    const done = (await world.audit()).filter(({ action }) => action.startsWith('authority.'));
    assert.deepEqual(
      done.map(({ action, actor }) => `${actor} ${action}`),
      ['rotate', 'finish', 'retire'].map((step) => `token:admin authority.${step}`),
    );
  });
});
