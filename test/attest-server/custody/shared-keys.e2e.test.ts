import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { checkpointPage } from '../../../attest-server/api/audit-pages.ts';
import { authorityView } from '../../../attest-server/api/authority-api.ts';
import { introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

describe('two servers with one folder of keys, each on a database of its own', () => {
  let folder = '';
  let one: TestServer;
  let other: TestServer;
  before(async function () {
    this.timeout(60_000);
    folder = await mkdtemp(join(tmpdir(), 'assay-shared-'));
    const settings = { policy: 'observe', keysDir: join(folder, 'keys') };
    [one, other] = await Promise.all([startTestServer(settings), startTestServer(settings)]);
  });
  after(async () => {
    await one?.[Symbol.asyncDispose]();
    await other?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const keysOf = async (world: TestServer) =>
    checkpointPage.parse(await world.call('GET', '/v1/audit/checkpoints')).keys;
  const authorities = async (world: TestServer) =>
    authorityView.parse(await world.call('GET', '/v1/authority')).authorities.map(({ digest }) => digest);

  it('are of one installation, and keep nothing of it in their state folders', async () => {
    assert.equal(one.ca, other.ca);
    assert.deepEqual(
      [await keysOf(one), await authorities(one)],
      [await keysOf(other), await authorities(other)],
    );
    for (const { stateDir } of [one, other]) {
      assert.ok(!readdirSync(stateDir).includes('audit.key'));
      assert.deepEqual(readdirSync(join(stateDir, 'tls')).sort(), ['server.crt', 'server.key']);
    }
  });

  it('both go on with a key that one of them rotated, and start with it again', async () => {
    await one.call('POST', '/v1/audit/keys', {});
    await other.until(async () => (await keysOf(other)).length === 2);
    assert.deepEqual(await keysOf(one), await keysOf(other));
    await other.restart();
    assert.deepEqual(await keysOf(one), await keysOf(other));
  });

  it('both announce another authority, and serve under it, once one of them put it in force', async () => {
    const [old] = await authorities(other);
    const tpm = forgedTpm();
    await other.pin('node-1', tpm.ekDigest);
    for (const [step, count] of [
      ['rotate', 2],
      ['finish', 2],
      ['retire', 1],
    ] as const) {
      await one.call('POST', `/v1/authority/${step}`, step === 'finish' ? { force: true } : {});
      const mine = await authorities(one);
      assert.equal(mine.length, count);
      await other.until(async () => (await authorities(other)).join() === mine.join());
    }
    assert.ok(!(await authorities(other)).includes(old ?? ''));
    // The peer of the tests trusts the old one alone.
    await assert.rejects(introduce(other, tpm, 'node-1'));
  }).timeout(60_000);
});
