import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startForgedFleet } from '../references/forged-fleet.ts';
import { signedDirectory } from './signed-directory.ts';

describe('a pin of a signed directory', () => {
  it('holds against a join token, also once its node was revoked (row 251)', async () => {
    await using git = await signedDirectory();
    const declared = { directory: git.directory, keys: [git.publicKey('merge')] };
    await using fleet = await startForgedFleet(
      { 'node-1': recordedLog('debian13-sdboot-uki') },
      { declared },
    );
    const { world } = fleet;
    await fleet.answer('node-1');
    const own = (await world.store.enrolment.node('node-1'))?.ekDigest ?? assert.fail();
    const pinned = forgedTpm();
    await git.write('pins.csv', `node-1,${own}\nnode-2,${pinned.ekDigest}\n`);
    await git.declare();
    await world.until(async () => {
      const status = statusView.parse(await world.call('GET', '/v1/status'));
      return status.declared?.inForce?.serial === 1;
    });
    const revoke = ['enrol', 'revoke', 'node-1', '--reason', 'another board', '--yes'];
    assert.equal((await runAssay(revoke, { env: world.env() })).code, 0);
    assert.equal(await world.store.enrolment.pinFor('node-1'), null);
    const withToken = async (tpm: ForgedTpm, node: string) => {
      const [, , id, secret] = (await world.joinToken(node)).split('.');
      const joinToken = binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
      return introduce(world, tpm, node, { joinToken });
    };
    assert.equal(await (await withToken(forgedTpm(), 'node-1')).refusal(), 'enrolment_pending');
    assert.equal(await (await withToken(pinned, 'node-3')).refusal(), 'enrolment_pending');
    const peer = await withToken(pinned, 'node-2');
    await peer.challenge();
    await peer.close();
  });
});
