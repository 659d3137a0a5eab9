import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { reference } from '../../../attest-server/formats/reference.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { type ForgedFleet, startForgedFleet } from '../references/forged-fleet.ts';
import type { ServerSettings } from '../running-server.ts';
import { type SignedDirectory, signedDirectory } from './signed-directory.ts';

const good = recordedLog('debian13-sdboot-uki');

describe('a signed directory that the settings name, name no longer, and name again', () => {
  const settings: { declared?: NonNullable<ServerSettings['declared']> } = {};
  let git: SignedDirectory;
  let fleet: ForgedFleet;
  let named: NonNullable<ServerSettings['declared']>;
  before(async () => {
    git = await signedDirectory();
    named = { directory: git.directory, keys: [git.publicKey('merge')] };
    settings.declared = named;
    fleet = await startForgedFleet({ 'node-1': good }, settings);
    await fleet.answer('node-1');
    const { world } = fleet;
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'one' });
    const { captured: _here, ...one } = await exported('one');
    for (const name of ['kept', 'bad', 'gone']) await git.write(`${name}.json`, { ...one, name });
    await git.declare();
    await world.until(async () => (await inForce())?.serial === 1);
  });
  after(async () => {
    await fleet?.[Symbol.asyncDispose]();
    await git?.[Symbol.asyncDispose]();
  });

  const inForce = async () =>
    statusView.parse(await fleet.world.call('GET', '/v1/status')).declared?.inForce ?? null;
  const exported = async (name: string) =>
    reference.parse(await fleet.world.call('GET', `/v1/references/${name}`));
  const step = (action: string, name: string) =>
    fleet.world.call('POST', `/v1/references/${name}/${action}`, { reason: 'because' });
  const restartWith = async (declared: ServerSettings['declared']) => {
    if (declared === undefined) delete settings.declared;
    else settings.declared = declared;
    await fleet.world.restart();
  };

  it('says again what its references are, although it was in force before; what a person revoked stays so', async () => {
    const { world } = fleet;
    await restartWith(undefined);
    await step('retire', 'kept');
    await step('revoke', 'bad');
    await step('retire', 'gone');
    await step('delete', 'gone');
    await restartWith(named);
    const states = await Promise.all(
      ['kept', 'bad', 'gone'].map(async (name) => (await exported(name)).state),
    );
    assert.deepEqual(states, ['active', 'revoked', 'active']);
    const entries = (await world.audit()).filter(({ action }) => action.endsWith('declare'));
    assert.deepEqual(
      entries.slice(-3).map(({ subject }) => subject),
      [git.directory, 'gone', 'kept'],
    );
    // Where nothing else was done, a start changes nothing.
    await world.restart();
    const later = (await world.audit()).filter(({ action }) => action.endsWith('declare'));
    assert.equal(later.length, entries.length);
  });

  it('does not take a revocation back by a word that is older (row 250)', async () => {
    const { world } = fleet;
    // Of what another cluster revoked: here it says nothing.
    await git.declare('merge', '--restore', 'gone');
    await world.until(async () => (await inForce())?.serial === 2);
    await restartWith(undefined);
    await step('revoke', 'gone');
    await restartWith(named);
    assert.equal((await exported('gone')).state, 'revoked');
    await git.write('kept.json', { ...(await exported('kept')), state: 'retired' });
    await git.declare();
    await world.until(async () => (await inForce())?.serial === 3);
    assert.deepEqual(
      [(await exported('kept')).state, (await exported('gone')).state],
      ['retired', 'revoked'],
    );
  });
});
