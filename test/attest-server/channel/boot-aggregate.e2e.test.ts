import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { binaryFrame, type Challenge } from '../../../attest-server/wire/messages.ts';
import { aggregateEntry } from '../../../swtpm-fixtures/ima-list.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const log = recordedLog('debian13-shim-grub');
const node = 'node-1';
const speaks = { speaks: ['parts', 'codes'] };
const firstBoot = '11111111-8b86-d011-b42d-00cf4fc964ff';
const secondBoot = '22222222-8b86-d011-b42d-00cf4fc964ff';

/** PCRs as the good boot leaves them, and the list of a kernel that found these or others when it started. */
function booted(found: Buffer = replayedValues(log, 'sha256')) {
  const values = replayedValues(log, 'sha256');
  const { bytes, digests } = aggregateEntry('sha256', found);
  const pcr10 = values.subarray(320, 352);
  hash('sha256', Buffer.concat([pcr10, digests.sha256]), 'buffer').copy(pcr10);
  return { values, list: bytes };
}

const good = booted();
/** PCR 9 lacked what a replaced initrd extended when the kernel ran already. */
const evil = booted(
  (() => {
    const found = replayedValues(log, 'sha256');
    found.fill(9, 9 * 32, 10 * 32);
    return found;
  })(),
);

interface Shown {
  readonly boot?: typeof good;
  readonly list?: Buffer | null;
  readonly bootId?: string;
  readonly resetCount?: number;
  readonly unavailable?: Readonly<Record<string, string>>;
}

/** Each test goes on where the one before it ended. */
describe('what the kernel found when it started, over a real connection', () => {
  let world: TestServer;
  let peer: Peer & { readonly hello: string };
  const tpm = forgedTpm();
  let clock = 0n;
  let wasShown = false;
  before(async () => {
    world = await startTestServer({ challengeEvery: 0.02 });
    await world.pin(node, tpm.ekDigest);
    peer = await introduce(world, tpm, node, { hello: speaks });
  });
  after(() => world?.[Symbol.asyncDispose]());

  /** Answers as an agent does: with the list where it was asked for, and its bytes where they are not held. */
  async function answer(shown: Shown = {}): Promise<{ challenge: Challenge; told: string }> {
    const { boot = good, bootId = firstBoot, resetCount = 7, unavailable } = shown;
    const list = shown.list === undefined ? boot.list : shown.list;
    const challenge = await peer.challenge();
    const ima = list !== null && challenge.parts?.includes('ima') ? list : undefined;
    for (const bytes of [log, ima])
      if (bytes !== undefined && !challenge.holds.includes(hash('sha256', bytes)))
        peer.send(binaryFrame('part', bytes));
    clock += 1000n;
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog: log, bootId };
    peer.send(
      tpm.evidenceOfParts(
        challenge,
        { ...occasion, ...(unavailable !== undefined && { unavailable }) },
        ima === undefined ? {} : { ima },
        (data) =>
          madeQuote(tpm.ak, data, { pcrs: { sha256: boot.values }, resetCount, restartCount: 1, clock }),
      ),
    );
    const { state, codes } = await peer.verdict();
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { verdict } = verifyBundle(bundle, { now: 0 });
    // A list that this answer did not bring, and that is not kept beside it: its exporter says that there was one.
    const isToldOfMemory = verdict.notes?.some((note) => note.includes('boot_aggregate')) ?? false;
    if (challenge.parts?.includes('ima') !== true) assert.equal(isToldOfMemory, wasShown);
    else if (ima !== undefined) assert.equal(isToldOfMemory, false);
    wasShown ||= ima !== undefined;
    assert.deepEqual([verdict.state, verdict.reasons.map(({ code }) => code)], [state, codes]);
    return { challenge, told: [state, ...codes].join(', ') };
  }

  const again = async (): Promise<void> => {
    await peer.close();
    peer = await introduce(world, tpm, node, { hello: speaks });
  };

  it('is asked for until it is proven, and judged offline as it was', async () => {
    assert.match((await answer({ list: null })).told, /^pending/);
    await world.call('POST', '/v1/references', { node, name: 'good' });
    const missing = await answer({ list: null });
    assert.deepEqual(
      [missing.challenge.parts?.includes('ima'), missing.told],
      [true, 'trusted, facts_unavailable'],
    );
    const proven = await answer();
    assert.deepEqual([proven.challenge.parts?.includes('ima'), proven.told], [true, 'trusted']);
    for (let round = 0; round < 2; round++) {
      const later = await answer();
      assert.deepEqual([later.challenge.parts?.includes('ima'), later.told], [false, 'trusted']);
    }
  });

  it('is kept over a restart, and not missed where the list has outgrown its bound', async () => {
    await peer.close();
    await world.restart();
    peer = await introduce(world, tpm, node, { hello: speaks });
    const cause = `longer than ${limits.parts.ima} bytes`;
    const outgrown = await answer({ list: null, unavailable: { ima: cause } });
    assert.deepEqual([outgrown.challenge.parts?.includes('ima'), outgrown.told], [true, 'trusted']);
    await again();
    assert.equal((await answer()).told, 'trusted');
  });

  it('is pending in a later boot that withholds it (row 133)', async () => {
    await again();
    const next = { bootId: secondBoot, resetCount: 8 };
    const { told } = await answer({ ...next, list: null });
    assert.match(told, /^pending, .*facts_unavailable/);
    assert.equal(await world.metric(`assay_node_trusted{node="${node}"}`), 0);
    assert.equal(
      (await world.audit()).findLast(({ action }) => action === 'verdict')?.code,
      'facts_unavailable',
    );
    assert.equal((await answer(next)).told.split(', ')[0], 'trusted');
  });

  it('is untrusted where a replaced initrd extended the good digest, whatever is shown then (row 132)', async () => {
    await again();
    const next = { boot: evil, bootId: firstBoot.replaceAll('1', '3'), resetCount: 9 };
    assert.equal((await answer(next)).told.split(', ').slice(0, 2).join(', '), 'untrusted, boot_remeasured');
    assert.equal(await world.metric(`assay_node_trusted{node="${node}"}`), 0);
    assert.equal(
      (await world.audit()).findLast(({ action }) => action === 'verdict')?.code,
      'boot_remeasured',
    );
    await again();
    assert.equal((await answer({ ...next, list: null })).told, 'untrusted, boot_remeasured');
    await again();
    assert.equal((await answer({ ...next, list: good.list })).told, 'untrusted, boot_remeasured');
  });

  it('is trusted again once the good boot proves it', async () => {
    await again();
    const { told } = await answer({ bootId: firstBoot.replaceAll('1', '4'), resetCount: 10 });
    assert.match(told, /^trusted/);
  });
});
