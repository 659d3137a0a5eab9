import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { historyView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { parseRawLog } from '../../../attest-server/verify/tpm/log-format.ts';
import type { Facts } from '../../../attest-server/wire/facts.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import {
  dataOf,
  edited,
  eventWhere,
  remeasured,
  reordered,
  retyped,
  withoutKernel,
} from '../../vectors/log-surgery.ts';
import { introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { allPcrs, madeQuote } from '../verify/made-quote.ts';

const log = recordedLog('debian13-shim-grub');
const node = 'node-1';
const indexOf = (holds: Parameters<typeof eventWhere>[1]) => eventWhere(log, holds).index;
const kernelFirst = (() => {
  const kernel = indexOf(({ pcr, stage }) => pcr === 4 && stage === 'kernel');
  const order = parseEventLog(log).events.flatMap(({ index }) => (index === kernel ? [] : index));
  order.splice(
    indexOf(({ describes }) => describes.endsWith('BOOTX64.EFI')),
    0,
    kernel,
  );
  return reordered(log, order);
})();
const hiddenDb = (() => {
  const db = indexOf(
    ({ type, describes }) => type === 'EV_EFI_VARIABLE_DRIVER_CONFIG' && describes.startsWith('db: '),
  );
  const foreign = remeasured(log, db, dataOf(log, db), Buffer.from('a db with a key more'));
  return retyped(edited(foreign, db, Buffer.from('nothing')), db, 0x0c);
})();

/** All PCRs of the SHA-256 bank, as a boot with this log leaves them. */
const valuesOf = (booted: Buffer) => replayedValues(booted, 'sha256');

describe('boot logs, over a real connection', () => {
  let world: TestServer;
  let peer: Peer & { readonly hello: string };
  const tpm: ForgedTpm = forgedTpm();
  before(async () => {
    world = await startTestServer({ challengeEvery: 0.02 });
    await world.pin(node, tpm.ekDigest);
    peer = await introduce(world, tpm, node);
    assert.deepEqual(await answer(log, valuesOf(log)), { state: 'pending', codes: ['no_reference'] });
    await world.call('POST', '/v1/references', { node, name: 'good' });
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });
  after(() => world?.[Symbol.asyncDispose]());

  let resetCount = 7;

  /** What was exported gives the same verdict again, from its own context. */
  async function judgedAlikeOffline(): Promise<void> {
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { verdict, rejected } = verifyBundle(bundle, { now: 0 });
    const { state, reasons, aspects } = verdict;
    const told = world.verdicts.at(-1)?.verdict;
    assert.deepEqual(
      { state, reasons, aspects },
      { state: told?.state, reasons: told?.reasons, aspects: told?.aspects },
    );
    assert.deepEqual([rejected, verdict.from], [false, 'context']);
  }

  /** Answers the next challenge with this log (null: none) and PCR values that were really quoted. */
  async function answer(
    bootLog: Buffer | null,
    sha256: Buffer,
    boots = 0,
    unavailable?: Facts['unavailable'],
  ) {
    resetCount += boots;
    const challenge = await peer.challenge();
    const digest = bootLog === null ? '' : hash('sha256', bootLog, 'hex');
    if (bootLog !== null && !challenge.holds.includes(digest)) peer.send(binaryFrame('part', bootLog));
    const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
    const { hello, channel } = peer;
    const saying = unavailable === undefined ? {} : { unavailable };
    const occasion = { node, hello, channel, bootId, ...saying, ...(bootLog && { bootLog }) };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount });
    peer.send(tpm.evidence(challenge, occasion, { quote }));
    const { state, codes } = await peer.verdict();
    await judgedAlikeOffline();
    return { state, codes };
  }

  for (const [what, code, boot] of [
    ['another kernel (row 45)', 'kernel_unknown', () => [tamper(log, 'kernel')]],
    ['another command line (row 41)', 'cmdline_policy', () => [tamper(log, 'cmdline')]],
    [
      'the old log beside the PCRs of a new kernel',
      'log_replay_mismatch',
      () => [log, tamper(log, 'kernel')],
    ],
    [
      'a log without its tail (row 33)',
      'log_replay_mismatch',
      () => [log.subarray(0, lastEventAt(log)), log],
    ],
    ['no kernel at all (row 135)', 'kernel_unknown', () => [withoutKernel(log)]],
    ['a kernel before its loader (row 136)', 'pcr_mismatch', () => [kernelFirst]],
    ['a db that the log calls something else (row 138)', 'unverified_event', () => [hiddenDb]],
  ] as const satisfies readonly (readonly [string, string, () => readonly Buffer[]])[])
    it(`distrusts ${what}, and trusts the good boot after it`, async () => {
      const [shown = log, booted = shown] = boot();
      const failures = await world.metric('assay_check_failures_total{check="boot"}');
      const verdict = await answer(shown, valuesOf(booted));
      assert.equal(verdict.state, 'untrusted');
      assert(verdict.codes.includes(code), verdict.codes.join());
      assert.equal(world.verdicts.at(-1)?.verdict.reasons[0]?.code, verdict.codes[0]);
      assert.ok((await world.metric('assay_check_failures_total{check="boot"}')) > failures);
      assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
    });

  it('distrusts a kernel that was good once and is revoked, and trusts the good boot after it (row 43)', async () => {
    const old = tamper(log, 'kernel');
    assert.equal((await answer(old, valuesOf(old))).state, 'untrusted');
    await world.call('POST', '/v1/references', { node, name: 'old', reason: 'it was good' });
    assert.equal((await answer(old, valuesOf(old))).state, 'trusted');
    await world.call('POST', '/v1/references/old/revoke', { reason: 'a hole in its kernel' });
    const { state, codes } = await answer(old, valuesOf(old));
    assert.deepEqual([state, codes.includes('revoked_reference')], ['untrusted', true]);
    assert.equal((await world.audit()).findLast(({ action }) => action === 'verdict')?.code, codes[0]);
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });

  it('captures no boot of which no kernel was measured (row 135)', async () => {
    const none = withoutKernel(log);
    assert.deepEqual(await answer(none, valuesOf(none)), { state: 'untrusted', codes: ['kernel_unknown'] });
    await assert.rejects(
      world.call('POST', '/v1/references', { node, name: 'none' }),
      /409.*kernel_unknown/s,
    );
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });

  it('distrusts a bank that the firmware never extended (row 22)', async () => {
    const { state, codes } = await answer(log, Buffer.alloc(24 * 32));
    assert.deepEqual([state, codes.includes('bank_unextended')], ['untrusted', true]);
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });

  it('distrusts a node that once sent a log and now leaves it out, however often it does (row 113)', async () => {
    for (let round = 0; round < 2; round++) {
      const { state, codes } = await answer(null, valuesOf(log));
      assert.deepEqual([state, codes.includes('log_incomplete')], ['untrusted', true]);
    }
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });

  it('trusts nobody who says that its log cannot be read, and forgets nothing for it (row 113)', async () => {
    const unread = (values: Buffer) => answer(null, values, 0, { boot: 'EACCES' });
    for (let round = 0; round < 2; round++) {
      const { state, codes } = await unread(valuesOf(log));
      assert.deepEqual(
        [state, codes[0], codes.includes('log_incomplete')],
        ['pending', 'facts_unavailable', false],
      );
    }
    assert.equal((await answer(null, valuesOf(log))).state, 'untrusted');
    // It is untrusted now, and stays so until its log is read again.
    for (let round = 0; round < 2; round++) {
      const { state, codes } = await unread(valuesOf(log));
      assert.deepEqual([state, codes.includes('facts_unavailable')], ['untrusted', true]);
    }
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });

  it('exports the evidence of an earlier verdict by its digest, and no other thing that is kept', async () => {
    const { items } = listOf(historyView).parse(await world.call('GET', `/v1/nodes/${node}/history`));
    // Changes that follow each other so quickly have a row later: the evidence of the latest is kept already.
    const latest = (await world.status(node))?.evidenceDigest;
    const earlier = items.map(({ evidence }) => evidence).find((evidence) => evidence !== latest);
    const bundleOf = (digest: string | null | undefined) =>
      world.call('GET', `/v1/nodes/${node}/bundle?evidence=${digest}`);
    assert.ok(earlier !== latest && earlier !== undefined);
    assert.deepEqual(await bundleOf(latest), await world.call('GET', `/v1/nodes/${node}/bundle`));
    assert.equal(verifyBundle(JSON.stringify(await bundleOf(earlier)), { now: 0 }).rejected, false);
    // The log of the latest evidence stands for it: reasons name it.
    assert.deepEqual(await bundleOf(hash('sha256', log, 'hex')), await bundleOf(latest));
    for (const other of [tamper(log, 'kernel'), tpm.ak.publicArea])
      await assert.rejects(bundleOf(hash('sha256', other, 'hex')), /404/);
    await assert.rejects(bundleOf('00'), /400/);
  });

  it('takes values that came before again only where the quote still signs them', async () => {
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
    const { state, codes } = await answer(log, valuesOf(tamper(log, 'kernel')));
    assert.deepEqual([state, codes.includes('log_replay_mismatch')], ['untrusted', true]);
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
    assert.equal((await answer(log, valuesOf(log))).state, 'trusted');
  });

  it('says that the node booted again before it judges the new boot', async () => {
    const before = world.verdicts.length;
    assert.equal((await answer(log, valuesOf(log), 1)).state, 'trusted');
    const told = world.verdicts.slice(before).map(({ verdict }) => [verdict.state, verdict.reasons[0]?.code]);
    assert.deepEqual(told[0], ['pending', 'rebooted']);
  });

  it("keeps no endless number of logs of one boot: the disk is not the node's", async () => {
    const sent = async (round: number) => {
      const made = Buffer.concat([log, Buffer.alloc(16 + round)]);
      return answer(made, Buffer.alloc(24 * 32), round === 0 ? 1 : 0);
    };
    for (let round = 0; round < 8; round++) assert.equal((await sent(round)).state, 'untrusted');
    const before = await world.status(node);
    await assert.rejects(sent(8));
    assert.deepEqual(await world.status(node), before);
    assert.ok((await world.metric('assay_refusals_total{code="too_large"}')) > 0);
  });
});

function lastEventAt(log: Buffer): number | undefined {
  const { offsets, count } = parseRawLog(log);
  return offsets[count - 1];
}

describe('a TPM with two strong banks, over a real connection', () => {
  it('is not trusted where one of them was told of another boot, and its state is kept (row 23)', async () => {
    await using world = await startTestServer({ challengeEvery: 0.02 });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const hello = { ...tpm.hello(node), banks: ['sha1', 'sha256', 'sha384'] };
    const peer = await introduce(world, tpm, node, { hello });
    const answer = async (sha384: Buffer) => {
      const challenge = await peer.challenge();
      assert.equal(challenge.selection.sha384?.length, 24);
      if (challenge.holds.length === 0) peer.send(binaryFrame('part', log));
      const pcrs = { sha256: valuesOf(log), sha384 };
      const selection = [
        [0x000b, allPcrs],
        [0x000c, allPcrs],
      ] as const;
      const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs, selection });
      peer.send(
        tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel, bootLog: log }, { quote }),
      );
      const { state, codes } = await peer.verdict();
      return { state, codes };
    };
    const good = replayedValues(log, 'sha384');
    assert.deepEqual(await answer(good), { state: 'pending', codes: ['no_reference'] });
    await world.call('POST', '/v1/references', { node, name: 'good' });
    assert.equal((await answer(good)).state, 'trusted');
    const other = Buffer.from(good);
    other.fill(7, 4 * 48, 5 * 48);
    const told = await answer(other);
    assert.equal(told.state, 'untrusted');
    assert(told.codes.includes('bank_mismatch'), told.codes.join());
    await peer.close();
    assert.equal((await world.status(node))?.state, 'untrusted');
    assert.equal(await world.metric('assay_nodes{state="untrusted"}'), 1);
    const entry = (await world.audit()).findLast(({ action }) => action === 'verdict');
    assert.deepEqual([entry?.subject, entry?.detail.state, entry?.code], [node, 'untrusted', told.codes[0]]);
  });
});
