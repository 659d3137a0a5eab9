import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { statusView } from '../../../attest-server/api/server-api.ts';
import type { Cluster } from '../../../attest-server/enrolment/cluster.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedFleet, startForgedFleet } from '../references/forged-fleet.ts';
import type { ServerSettings, TestServer } from '../running-server.ts';
import { type SignedDirectory, signedDirectory } from './signed-directory.ts';

const cluster: Cluster = {
  providerIdOf: async () => null,
  nodeOfToken: async () => null,
  wantsToken: () => false,
  labelsOf: () => ({}),
  systemUuidOf: () => null,
};

describe('a signed directory whose policy a server does not take any more', () => {
  let git: SignedDirectory;
  let fleet: ForgedFleet;
  let world: TestServer;
  let policy: string;
  const settings: { cluster?: Cluster; declared?: NonNullable<ServerSettings['declared']> } = {};
  beforeEach(async () => {
    policy = await readFile(bootPolicyFile, 'utf8');
    git = await signedDirectory();
    // A method that there is in a cluster alone.
    await git.write('policy.yaml', `${policy}    enrolment: [pin, vendor]\n`);
    await git.declare();
    settings.cluster = cluster;
    settings.declared = { directory: git.directory, keys: [git.publicKey('merge')] };
    fleet = await startForgedFleet({ 'node-1': recordedLog('debian13-sdboot-uki') }, settings);
    world = fleet.world;
    await fleet.answer('node-1');
    assert.equal(await serial(), 1);
    delete settings.cluster;
  });
  afterEach(async () => {
    await fleet?.[Symbol.asyncDispose]();
    await git?.[Symbol.asyncDispose]();
  });

  const serial = async () =>
    statusView.parse(await world.call('GET', '/v1/status')).declared?.inForce?.serial ?? 0;
  const refused = () => assert.rejects(world.restart(), (error) => error instanceof PolicyError);

  it('keeps it from starting, as a file would, and another policy that is signed mends that', async () => {
    await refused();
    // Not signed: that is nobody's word.
    await git.write('policy.yaml', policy);
    await refused();
    await git.declare();
    await world.restart();
    assert.equal(await serial(), 2);
    const { text } = (await world.call('GET', '/v1/policy')) as { text: string };
    assert.equal(text, policy);
  });

  it('lets it start with the policy of its settings where the directory has none by now', async () => {
    await git.remove('policy.yaml');
    await git.write('pins.csv', `node-2,${'ab'.repeat(32)}\n`);
    await git.declare();
    await world.restart();
    assert.deepEqual(
      [await serial(), (await world.store.enrolment.pinFor('node-2'))?.by],
      [2, 'declared:merge'],
    );
  });

  it('does not let it start with the policy of a directory that does not come into force', async () => {
    await git.write('policy.yaml', policy);
    // Not signed meanwhile: the server that still runs looks each second.
    assert.equal((await runAssay(['declare', git.directory, '--serial', '5'])).code, 0);
    const held = await readFile(`${git.directory}/manifest`, 'utf8');
    await git.write('manifest', held.replace('serial 5', 'serial 1'));
    await git.sign();
    await refused();
    // A later serial, with a pin that cannot be.
    const { ekDigest } = (await world.store.enrolment.node('node-1')) ?? assert.fail();
    await git.write('pins.csv', `node-2,${ekDigest}\n`);
    await git.declare();
    await assert.rejects(world.restart());
    await git.remove('pins.csv');
    await git.declare();
    await world.restart();
  });
});
