import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { captureAnswer, revokeAnswer } from '../../../attest-server/api/api.ts';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { binaryFrame, type Challenge } from '../../../attest-server/wire/messages.ts';
import { filesOf, siblingFile, withMadeFiles } from '../../../swtpm-fixtures/loader-files.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { dataOf, eventsWhere, remeasured } from '../../vectors/log-surgery.ts';
import { assertRefused, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const good = withMadeFiles(recordedLog('fedora41-locality-3'));
const entries = eventsWhere(good, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.conf'));
/** The entries of another machine, or what an attacker reads in their places. */
const withEntries = (content: (name: string) => Buffer) =>
  entries.reduce(
    (log, { index, describes }) => remeasured(log, index, dataOf(good, index), content(describes)),
    good,
  );
const sibling = withEntries(siblingFile);
const image = Buffer.concat([Buffer.from('MZ'), Buffer.alloc(1024, 0x90)]);
const hidden = withEntries(() => image);
const asked = { speaks: ['parts', 'codes', 'files'] };

const bootIdOf = (resetCount: number) => `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;

type Agent = Peer & { readonly hello: string };

describe('the files of a loader, over a real connection', () => {
  let world: TestServer;
  const tpms: Readonly<Record<string, ForgedTpm>> = {
    'node-1': forgedTpm(),
    'node-2': forgedTpm(),
    'node-3': forgedTpm(),
  };
  before(async () => {
    world = await startTestServer({ challengeEvery: 5 });
    for (const [node, { ekDigest }] of Object.entries(tpms)) await world.pin(node, ekDigest);
  });
  after(() => world?.[Symbol.asyncDispose]());

  const tpmOf = (node: string) => tpms[node] ?? assert.fail();
  const connect = (node: string) => introduce(world, tpmOf(node), node, { hello: asked });

  function send(peer: Agent, node: string, challenge: Challenge, bootLog: Buffer, resetCount: number): void {
    const pcrs = { sha256: replayedValues(bootLog, 'sha256') };
    const quote = (data: Buffer) => madeQuote(tpmOf(node).ak, data, { pcrs, resetCount });
    const occasion = {
      node,
      hello: peer.hello,
      channel: peer.channel,
      bootLog,
      bootId: bootIdOf(resetCount),
    };
    const digest = hash('sha256', bootLog, 'hex');
    if (!challenge.holds.includes(digest)) peer.send(binaryFrame('part', bootLog));
    peer.send(tpmOf(node).evidenceOfParts(challenge, occasion, {}, quote));
  }

  /** Answers, and once more where files are asked for; gives how many were, and the verdict. */
  async function boot(
    node: string,
    log: Buffer,
    files: readonly Buffer[],
    how: { asks: boolean; resetCount?: number },
  ) {
    const { asks, resetCount = 7 } = how;
    const peer = await connect(node);
    const first = await peer.challenge();
    assert.equal(first.files, undefined);
    send(peer, node, first, log, resetCount);
    let wanted: readonly string[] = [];
    if (asks) {
      const next = await peer.challenge();
      wanted = next.files ?? [];
      for (const file of files)
        if (wanted.includes(hash('sha256', file, 'hex'))) peer.send(binaryFrame('file', file));
      send(peer, node, next, log, resetCount);
    }
    const { state, codes } = await peer.verdict();
    await peer.close();
    return { wanted: wanted.length, state, codes };
  }

  it('are asked for once, and make a sibling of the captured node trusted', async () => {
    const files = [...filesOf(good).values()];
    const { wanted, state } = await boot('node-1', good, files, { asks: true });
    assert.deepEqual([wanted, state], [new Set(files.map(String)).size, 'pending']);
    const made = captureAnswer.parse(
      await world.call('POST', '/v1/references', { node: 'node-1', name: 'good' }),
    );
    assert.equal(made.unseen, undefined);
    assert.equal((await boot('node-1', good, [], { asks: false })).state, 'trusted');
    const other = await boot('node-2', sibling, [...filesOf(sibling).values()], { asks: true });
    assert.deepEqual([other.wanted, other.state], [entries.length, 'trusted']);
    const bundle = JSON.stringify(await world.call('GET', '/v1/nodes/node-2/bundle'));
    assert.equal(verifyBundle(bundle, { now: Date.now() }).verdict.state, 'trusted');
  });

  it('are held over a restart', async () => {
    await world.restart();
    assert.equal((await boot('node-2', sibling, [], { asks: false })).state, 'trusted');
  });

  const untrusted = 'assay_nodes{state="untrusted"}';
  for (const [what, files, resetCount] of [
    ['withheld', [], 8],
    ['sent', [image], 9],
  ] as const)
    it(`that are a kernel in the places of loader entries are not trusted, ${what} (row 137)`, async () => {
      const { state, codes } = await boot('node-2', hidden, files, { asks: true, resetCount });
      assert.deepEqual([state, codes.includes('bootloader_unknown')], ['untrusted', true]);
      assert.equal((await world.status('node-2'))?.state, 'untrusted');
      assert.equal(await world.metric(untrusted), 1);
      const entry = (await world.audit()).findLast(({ action }) => action === 'verdict');
      assert.deepEqual([entry?.subject, entry?.code], ['node-2', 'bootloader_unknown']);
      const request = { node: 'node-2', name: what, staged: true };
      const capture = world.call('POST', '/v1/references', request);
      if (what === 'sent') await assert.rejects(capture, /409/);
      else assert.ok(captureAnswer.parse(await capture).unseen?.length);
    });

  it('may begin like a list of the server’s, and nothing is kept or erased otherwise for that (row 354)', async () => {
    const forged = Buffer.from('assay/initrds/1\nand no digests\n');
    const log = withEntries(() => forged);
    const { state } = await boot('node-3', log, [forged, ...filesOf(good).values()], { asks: true });
    assert.equal(state, 'trusted');
    const request = { reason: 'owned', eraseEvidence: true };
    const { freedBytes } = revokeAnswer.parse(
      await world.call('POST', '/v1/enrolments/node-3/revoke', request),
    );
    assert((freedBytes ?? 0) > log.length, `${freedBytes}`);
    assert.notEqual(
      await world.store.evidence.readShared(
        hash('sha256', [...filesOf(good).values()][0] ?? '', 'hex'),
        'node-1',
      ),
      null,
    );
    assert.equal(await world.store.evidence.readShared(hash('sha256', forged, 'hex'), 'node-3'), null);
  });

  it('that another node was to send keep nobody from revoking the one that waits for them (row 375)', async () => {
    const log = withEntries(() => Buffer.from('of two nodes\n'));
    const [silent, waiting] = [forgedTpm(), forgedTpm()];
    await world.pin('silent', silent.ekDigest);
    await world.pin('waiting', waiting.ekDigest);
    const show = async (node: string, tpm: ForgedTpm) => {
      const peer = await introduce(world, tpm, node, { hello: asked });
      const challenge = await peer.challenge();
      const pcrs = { sha256: replayedValues(log, 'sha256') };
      const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog: log };
      if (!challenge.holds.includes(hash('sha256', log, 'hex'))) peer.send(binaryFrame('part', log));
      peer.send(
        tpm.evidenceOfParts(challenge, occasion, {}, (data) =>
          madeQuote(tpm.ak, data, { pcrs, resetCount: 7 }),
        ),
      );
      return peer;
    };
    // It takes what both have, and never sends it.
    const first = await show('silent', silent);
    assert.ok((await first.challenge()).files?.length);
    const second = await show('waiting', waiting);
    const heard = second.peek().then((said) => said?.type ?? 'closed');
    const revoking = world.call('POST', '/v1/enrolments/waiting/revoke', { reason: 'owned' });
    await revoking;
    assert.equal(await heard, 'error', 'it is told, and was not asked before');
    await Promise.all([first.close(), second.close()]);
  });

  it('are refused where nobody asked for them, and before the node has proven itself', () =>
    assertRefused(world, 'node-1', 'malformed', async () => {
      const peer = await connect('node-1');
      await peer.challenge();
      peer.send(binaryFrame('file', Buffer.from('a file')));
      return peer;
    }));

  it('are refused where they are more than an answer may bring', () =>
    assertRefused(world, 'node-2', 'too_large', async () => {
      const peer = await connect('node-2');
      send(
        peer,
        'node-2',
        await peer.challenge(),
        withEntries(() => Buffer.from('yet another\n')),
        10,
      );
      await peer.challenge();
      for (let count = 0; count < 3; count++)
        peer.send(binaryFrame('file', Buffer.alloc(limits.loaderFiles.each, count)));
      return peer;
    }));

  it('are asked for sixteen times on one connection, though the log that comes is another one each time', async () => {
    const peer = await connect('node-1');
    let asks = 0;
    for (; asks < 40; asks++) {
      const said = await peer.peek();
      if (said?.type === 'verdict') break;
      // More than eight logs of one boot are not even read.
      const bootLog = withEntries(() => Buffer.from(`one more ${asks % 7}\n`));
      send(peer, 'node-1', await peer.challenge(), bootLog, 11);
    }
    assert.equal(asks, 17);
    assert.equal((await peer.verdict()).state, (await world.status('node-1'))?.state);
    await peer.close();
  });

  it('are asked for twice where the answer never comes, over connections too; then there is a verdict without them', async () => {
    await using slow = await startTestServer({ challengeEvery: 0.3, answerWithin: 0.3 });
    const tpm = forgedTpm();
    await slow.pin('node-1', tpm.ekDigest);
    const pcrs = { sha256: replayedValues(good, 'sha256') };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs, resetCount: 7 });
    const asks: number[] = [];
    const converse = async (mayBeAsked: number) => {
      const peer = await introduce(slow, tpm, 'node-1', { hello: asked });
      for (let unanswered = 0; unanswered < mayBeAsked; ) {
        const challenge = await peer.challenge();
        if (challenge.files !== undefined) {
          asks.push(challenge.files.length);
          unanswered += 1;
          continue;
        }
        const occasion = { node: 'node-1', hello: peer.hello, channel: peer.channel, bootLog: good };
        const { holds } = challenge;
        if (!holds.includes(hash('sha256', good, 'hex'))) peer.send(binaryFrame('part', good));
        peer.send(tpm.evidenceOfParts(challenge, occasion, {}, quote));
        const said = await peer.peek();
        if (said?.type === 'verdict') return peer;
      }
      return peer;
    };
    await (await converse(1)).close();
    const peer = await converse(9);
    assert.equal(asks.length, 2);
    assert.equal((await peer.verdict()).state, 'pending');
    await peer.close();
  });
});
