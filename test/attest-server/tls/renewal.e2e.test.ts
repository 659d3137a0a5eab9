import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { createClient } from '../../../attest-server/cli/client.ts';
import { CliError } from '../../../attest-server/cli/exit.ts';
import { tlsFolder } from '../../../attest-server/tls/identity.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { ekDigestOf } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { type KeptAgent, startKeptAgent } from './kept-agent.ts';
import { identityIn } from './made-identity.ts';

const node = 'node-1';
const patience = 60_000;
const day = 86_400_000;
const names = ['localhost', '127.0.0.1'];
const serverUntil = 'assay_certificate_expiry_timestamp_seconds{certificate="server"}';
const failures = 'assay_certificate_renewal_failures_total';

describe("the server's certificate, while the server runs", () => {
  let machine: FixtureMachine;
  let folder = '';
  before(async () => {
    [machine, folder] = await Promise.all([
      startMachine({ log: recordedLog('debian13-shim-grub') }),
      mkdtemp(join(tmpdir(), 'assay-renewal-')),
    ]);
  });
  after(async () => {
    await machine?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  async function start(world: TestServer, state: string): Promise<KeptAgent> {
    const caFile = `${state}.pem`;
    await writeFile(join(folder, caFile), world.ca);
    return startKeptAgent({ node, world, machine, folder, state, caFile });
  }

  it('is made anew before it ends; agents stay, and come in anew, and nobody starts the server again', async () => {
    let before = 0;
    await using world = await startTestServer({
      certificateLookedAtEvery: 50,
      async prepare(stateDir) {
        // A third of its life, a year and an hour, is left in three seconds.
        const third = (365 * day + 3_600_000) / 3;
        before = (await identityIn(stateDir, names, Date.now() + 3_000 + third - 365 * day)).notAfter;
      },
    });
    await world.pin(node, await ekDigestOf(machine));
    const agent = await start(world, 'stays');
    await world.until(() => agent.verdicts() > 0, patience);
    await world.until(async () => (await world.metric(serverUntil)) > before / 1000 + 1, patience);
    const seen = agent.verdicts();
    world.server.challengeNow();
    await world.until(() => agent.verdicts() > seen, patience);
    assert.equal(agent.lines.filter((line) => line.includes('connection has ended')).length, 0);
    await agent.stop();
    const another = await start(world, 'comes anew');
    await world.until(() => another.verdicts() > 0, patience);
    await another.stop();
    await world.call('GET', '/v1/nodes');
    const renewals = (await world.audit()).filter(({ action }) => action === 'certificate.renew');
    assert.deepEqual(
      renewals.map(({ actor, detail }) => [actor, detail.before]),
      [['server', new Date(before).toISOString()]],
    );
    assert.equal(await world.metric(failures), 0);
    assert.equal(await world.metric('assay_ready'), 1);
  });

  it('says when it ended, by which clock and what to do, and is good again once it can be made', async () => {
    let ended = '';
    let hidden = '';
    await using world = await startTestServer({
      certificateLookedAtEvery: 50,
      async prepare(stateDir) {
        const { notAfter } = await identityIn(stateDir, names, Date.now() - 400 * day);
        ended = new Date(notAfter).toISOString();
        hidden = join(tlsFolder(stateDir), 'ca.key');
        await rename(hidden, `${hidden}.hidden`);
      },
    });
    assert.ok((await world.metric(failures)) >= 1);
    assert.equal(await world.metric('assay_ready'), 0);
    const access = {
      server: new URL(`https://127.0.0.1:${world.server.apiPort}`),
      token: 'any',
      tokenFile: 'any.token',
      ca: world.ca,
      caFile: 'ca.crt',
      startedBy: null,
    };
    await assert.rejects((await createClient(access)).get('/v1/nodes', z.unknown()), (error) => {
      assert.ok(error instanceof CliError);
      assert.ok(error.message.includes(`the server's certificate ended at ${ended}`), error.message);
      assert.match(error.message, /the clock of this machine says \d{4}-/);
      assert.match(error.hint ?? '', /clock here is wrong.*at the server.*docs\/connections\.md/s);
      return true;
    });
    const agent = await start(world, 'away');
    await world.until(() => agent.lines.some((line) => line.includes(`ended at ${ended}`)), patience);
    assert.match(agent.lines.join(''), /"code":"connect_failed"[^\n]*clock here is wrong/);
    await rename(`${hidden}.hidden`, hidden);
    await world.until(async () => (await world.metric('assay_ready')) === 1, patience);
    await world.pin(node, await ekDigestOf(machine));
    await world.until(() => agent.verdicts() > 0, patience);
    await agent.stop();
    assert.ok((await world.audit()).some(({ action }) => action === 'certificate.renew'));
  });
});
