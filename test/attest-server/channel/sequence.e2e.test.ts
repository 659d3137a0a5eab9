import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'mocha';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import type { Challenge } from '../../../attest-server/wire/messages.ts';
import { introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { type AttestOptions, madeQuote } from '../verify/made-quote.ts';

/** What a quote and a kernel say of time. */
type Moment = Pick<AttestOptions, 'clock' | 'resetCount' | 'restartCount' | 'firmwareVersion'> & {
  readonly boot?: string;
};

describe('the counters of a TPM, over a real connection', () => {
  let world: TestServer;
  let peer: Peer & { readonly hello: string };
  let tpm: ForgedTpm;
  let nodes = 0;
  let node = '';
  before(async () => {
    world = await startTestServer({ challengeEvery: 0.02, policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    node = `node-${++nodes}`;
    tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    peer = await introduce(world, tpm, node);
    assert.equal(await at({}), 'trusted');
  });

  /** Answers the next challenge at this moment; the state and its codes. */
  async function at({ boot = 'a', ...moment }: Moment, asked?: Challenge): Promise<string> {
    const challenge = asked ?? (await peer.challenge());
    const bootId = `6f9619ff-8b86-d011-b42d-00cf4fc96${boot.charCodeAt(0).toString().padStart(3, '0')}`;
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootId };
    const all = { resetCount: 7, restartCount: 1, clock: 1_000_000_000n, ...moment };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, all);
    peer.send(tpm.evidence(challenge, occasion, { quote }));
    const { state, codes } = await peer.verdict();
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { verdict } = verifyBundle(bundle, { now: 0 });
    assert.deepEqual([verdict.state, verdict.reasons.map(({ code }) => code)], [state, codes]);
    return [state, ...codes.filter((code) => code !== 'no_reference')].join(' ');
  }

  const approve = () => world.call('POST', `/v1/enrolments/${node}/approve`, { ek: tpm.ekDigest });

  for (const [name, moment, codes] of [
    ['row 28: the reset counter fell', { resetCount: 6 }, ['counter_rollback']],
    [
      'row 103: a cleared TPM',
      { resetCount: 0, restartCount: 0, clock: 5n, boot: 'b' },
      ['counter_rollback'],
    ],
    ['row 26: a snapshot of the same boot', { clock: 999_999_999n }, ['clock_rewind', 'counter_rollback']],
  ] as const satisfies readonly (readonly [string, Moment, readonly string[]])[])
    it(`${name}: untrusted until a person approves the key again`, async () => {
      assert.equal(await at(moment), ['untrusted', ...codes].join(' '));
      const held = codes.at(-1);
      assert.equal(await at({ ...moment, clock: 1_000_000_500n }), `untrusted ${held}`);
      await world.restart();
      peer = await introduce(world, tpm, node);
      assert.equal(await at({ ...moment, clock: 1_000_000_600n }), `untrusted ${held}`);
      await approve();
      assert.equal(await at({ ...moment, clock: 1_000_000_700n }), 'trusted');
      const [told] = (await world.audit()).filter(
        ({ action, subject }) => action === 'enrol.approve' && subject === node,
      );
      assert.deepEqual([told?.actor, told?.code], ['token:admin', held]);
      await assert.rejects(approve(), /409/);
    });

  it('row 30: another TPM firmware is told in the boot that brought it, also after a restart of the server', async () => {
    const firmwareVersion = 2n;
    const updated = { firmwareVersion, resetCount: 8, boot: 'b' };
    assert.equal(await at({ ...updated, clock: 1_000_000_100n }), 'trusted tpm_firmware');
    await world.restart();
    peer = await introduce(world, tpm, node);
    assert.equal(await at({ ...updated, clock: 1_000_000_200n }), 'trusted tpm_firmware');
    const reasons = (await world.status(node))?.verdict?.reasons ?? [];
    assert.deepEqual(
      reasons.filter(({ code }) => code === 'tpm_firmware').map(({ severity, source }) => [severity, source]),
      [['warn', 'tpm']],
    );
    assert.equal(await at({ firmwareVersion, resetCount: 9, boot: 'c', clock: 1_000_000_300n }), 'trusted');
    const changes = (await world.audit()).filter(
      ({ subject, code }) => subject === node && code === 'tpm_firmware',
    );
    assert.notEqual(changes.length, 0);
    // Back to the first one: a downgrade.
    assert.equal(await at({ resetCount: 10, boot: 'd', clock: 1_000_000_400n }), 'trusted tpm_firmware');
    await approve();
    assert.equal(await at({ resetCount: 10, boot: 'd', clock: 1_000_000_500n }), 'trusted');
    await assert.rejects(approve(), /409/);
  });

  it('row 100: two machines that go on from one snapshot are told by their clocks', async () => {
    assert.equal(await at({ clock: 1_000_000_400n }), 'trusted');
    assert.match(await at({ clock: 1_000_000_100n }), /counter_rollback/);
    await at({ clock: 1_000_000_900n });
    assert.match(await at({ clock: 1_000_000_500n }), /^untrusted .*clone_suspected/);
  });

  it('row 100: a machine that always answers just after its twin is told by how far it is behind', async () => {
    for (const [behind, codes] of [
      [500n, 'trusted'],
      [300_000n, 'untrusted clock_rewind counter_rollback'],
    ] as const) {
      const twin = peer;
      peer = await introduce(world, tpm, node);
      const [mine, asked] = [peer, await peer.challenge()];
      peer = twin;
      assert.equal(await at({ clock: 1_001_000_000n }), 'trusted');
      peer = mine;
      assert.equal(await at({ clock: 1_001_000_000n - behind }, asked), codes);
    }
  });

  it('row 84: power loss, reboot after suspend and a suspend are each recovered from by the next full proof', async () => {
    assert.equal(await at({ resetCount: 8, restartCount: 0, clock: 999_000_000n, boot: 'b' }), 'trusted');
    assert.equal(await at({ resetCount: 8, restartCount: 1, clock: 1_000_000_000n, boot: 'c' }), 'trusted');
    assert.equal(await at({ resetCount: 9, restartCount: 3, clock: 1_000_000_000n, boot: 'd' }), 'trusted');
  });

  it('rows 27 and 31: a TPM that was reset under a kernel that runs on is told', async () => {
    assert.match(await at({ resetCount: 8 }), /boot_correlation/);
  });

  it('row 99: another kernel without a reset is told, for as long as it runs', async () => {
    assert.match(await at({ boot: 'b' }), /kexec_detected/);
    assert.match(await at({ boot: 'b', clock: 1_000_000_100n }), /kexec_detected/);
    await assert.rejects(world.call('POST', '/v1/references', { node, name: 'kexec' }), /kexec_detected/);
    assert.equal(await at({ boot: 'c', resetCount: 8, clock: 1_000_000_200n }), 'trusted');
  });
});
