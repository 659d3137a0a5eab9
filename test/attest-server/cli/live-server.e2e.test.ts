import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { programs } from '../../programs.ts';
import { introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { honestAgent } from '../honest-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { runAssay } from './cli-fixture.ts';

const launcher = programs.assay;
const node = 'node-1';
const frame = (id: string, secret: string) => binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));

describe('assay at a real server', () => {
  let world: TestServer;
  let env: Record<string, string>;
  const tpm = forgedTpm();
  const assay = (line: string) => runAssay(line.split(' '), { env, now: Date.now });

  before(async () => {
    world = await startTestServer({ policy: 'observe' });
    const caFile = join(world.stateDir, 'shown-ca.pem');
    await writeFile(caFile, world.ca);
    env = {
      ASSAY_SERVER: `https://127.0.0.1:${world.server.apiPort}`,
      ASSAY_TOKEN_FILE: join(world.stateDir, 'admin.token'),
      ASSAY_CA_FILE: caFile,
    };
    await world.pin(node, tpm.ekDigest);
  });
  after(() => world?.[Symbol.asyncDispose]());

  it('asks a connected node now, waits for its verdict, and knows one that is away', async () => {
    const agent = await honestAgent(world, tpm, node);
    await world.until(() => agent.states.length === 1);
    const before = (await world.status(node))?.verifiedAt ?? 0;
    const { code, out } = await assay(`attest ${node} -o json`);
    const { state, verifiedAt } = JSON.parse(out);
    assert.deepEqual([code, state, Date.parse(verifiedAt) > before], [0, 'trusted', true]);
    assert.equal(agent.states.length, 2);
    const { connections, nodes } = statusView.parse(JSON.parse((await assay('status -o json')).out));
    assert.deepEqual([connections[0]?.proven, nodes.trusted], [1, 1]);
    await agent.peer.close();
    await agent.ended;
    await world.until(async () => (await assay(`attest ${node}`)).code === 11);
  });

  it('says of the server what is so', async () => {
    const { code, out } = await assay('status -o json');
    const { store, stateDir, certificates, policy, startedAt, ready } = statusView.parse(JSON.parse(out));
    assert.deepEqual([code, ready.ok, policy.name], [0, true, 'observe']);
    assert.ok(store.bytes > 4096 && store.schema >= 12);
    assert.ok((stateDir.free ?? 0) > 0 && (stateDir.free ?? 0) <= (stateDir.total ?? 0));
    assert.ok(Date.parse(startedAt) <= Date.now() && Date.parse(policy.since) >= Date.parse(startedAt));
    assert.deepEqual(
      certificates.map(({ of }) => of),
      ['server', 'authority'],
    );
    for (const { expiresAt } of certificates) assert.ok(Date.parse(expiresAt) > Date.now() + 86_400_000);
  });

  it('keeps the moment of the policy where the same one is read again', async () => {
    const since = async () => JSON.parse((await assay('status -o json')).out).policy.since;
    const before = await since();
    await world.server.reload();
    assert.equal(await since(), before);
  });

  it('says until when a token counts', async () => {
    const made = await assay('token create --name alice --role operator --ttl 8h -o json');
    const { token, expiresAt } = JSON.parse(made.out);
    const file = join(world.stateDir, 'alice.token');
    await writeFile(file, token, { mode: 0o600 });
    const { out } = await assay(`whoami -o json --token-file ${file}`);
    const said = JSON.parse(out);
    assert.deepEqual([said.name, said.role], ['token:alice', 'operator']);
    assert.ok(Math.abs(Date.parse(said.expiresAt) - Date.parse(expiresAt)) < 1000);
    assert.equal(JSON.parse((await assay('whoami -o json')).out).expiresAt, null);
  });

  it('takes a join token back: its TPM does not enrol, the audit log says who, and no secret is anywhere', async () => {
    const made = JSON.parse((await assay('join-token create --node node-7 -o json')).out);
    const [, , id = '', secret = ''] = made.token.split('.');
    const { out } = await assay('join-token list --all -o json');
    assert.equal(JSON.parse(out).items[0].id, id);
    assert.ok(!out.includes(secret));
    assert.equal((await assay(`join-token revoke ${id}`)).code, 0);
    const entry = (await world.audit()).at(-1);
    assert.deepEqual(
      [entry?.action, entry?.actor, entry?.subject, entry?.detail],
      ['join-token.revoke', 'token:admin', 'node-7', { id }],
    );
    const entries = (await world.audit()).length;
    assert.equal((await assay(`join-token revoke ${id}`)).code, 1);
    assert.equal((await world.audit()).length, entries);
    const peer = await introduce(world, forgedTpm(), 'node-7', { joinToken: frame(id, secret) });
    assert.equal(await peer.refusal(), 'enrolment_pending');
    assert.equal(await world.store.enrolment.node('node-7'), null);
  });

  it('does not take back a join token that was used', async () => {
    const { token } = JSON.parse((await assay('join-token create --node node-8 -o json')).out);
    const [, , id = '', secret = ''] = token.split('.');
    const peer = await introduce(world, forgedTpm(), 'node-8', { joinToken: frame(id, secret) });
    await world.until(() => world.store.enrolment.node('node-8'));
    await peer.close();
    assert.equal((await assay(`join-token revoke ${id}`)).code, 1);
    const { items } = JSON.parse((await assay('join-token list --all -o json')).out);
    const used = items.find((item: { id: string }) => item.id === id);
    assert.notEqual(used.usedAt, null);
    assert.notEqual(await world.store.enrolment.node('node-8'), null);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    it(`ends get nodes --watch with 0 by ${signal}, as a program of its own`, async () => {
      const child = start(process.execPath, [launcher, 'get', 'nodes', '-w'], {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      assert.ok(child.stdout);
      await once(child.stdout, 'data');
      child.kill(signal);
      const [code] = await once(child, 'exit');
      assert.equal(code, 0);
    });
});
