import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { GateOpenings } from '../../../attest-server/attest/gate-openings.ts';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import { createRefusalLog } from '../../../attest-server/audit/refusals.ts';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import { outsideText } from '../../../attest-server/wire/printable.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { trials } from '../../trials.ts';
import { type Flap, type FlappingNode, flappingNode } from './flapping-node.ts';

const second = 1_000;
const minute = 60 * second;
const day = 24 * 60 * minute;
/** Of a node, at once and a day: what its verdicts may add to history, audit log and checkpoints. */
const share = { burst: 256 * 1024, aDay: 768 * 1024 };
/** Of a checkpoint that signs what was added, once a minute. */
const checkpointBytes = 400;

describe('a node whose verdict changes with each answer (row 355)', () => {
  let folder: string;
  let node: FlappingNode;
  /** Answers from 0 on, and how long its clock went. */
  let turn: number;
  let at: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-flapping-'));
    [turn, at] = [0, 0];
  });
  afterEach(async () => {
    await node[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const flap = async (answers: number, every = second) => {
    for (let count = 0; count < answers; count += 1, turn += 1) {
      await node.answer(at, turn);
      for (const end = at + every; at < end; at += second) await node.passTo(at);
    }
  };
  const begin = async (how: Flap, most?: number) => {
    node = await flappingNode(folder, how, most);
  };
  const history = () => node.store.verdicts.history('node-0', { limit: 1_000 });
  const entries = () => node.store.audit.entries({ limit: 1_000 });
  const status = () => node.attestation().status('node-0');

  for (const [what, how, answers, every] of [
    ['states, each second', 'states', 300, second],
    ['sets of reasons within one state, each second', 'reasons', 300, second],
    ['states, as seldom as each has a row of its own until its share is spent', 'states', 120, 20 * second],
  ] as const)
    it(`adds no more for good than its share, with ${what}`, async () => {
      await begin(how);
      const before = node.forGood();
      await flap(answers, every);
      const passed = at / minute;
      const most = share.burst + (share.aDay / (24 * 60)) * passed + checkpointBytes * passed;
      assert.ok(node.forGood() - before <= most, `${node.forGood() - before} bytes of ${most}`);
      assert.ok((await history()).some(({ flaps }) => (flaps?.changes ?? 0) > 1));
    });

  it('adds at most 2 MB a day by all means together: refusals, gates and checkpoints besides', async function () {
    this.timeout(300_000);
    await begin('states');
    const before = node.forGood();
    const refusals = createRefusalLog(0);
    const gates = new GateOpenings();
    // What is had at once is had by then; from then on it grows evenly.
    const watched = Math.min(day, trials(6 * 60 * minute));
    let half = 0;
    for (; at < watched; turn += 1) {
      if (at === watched / 2) half = node.forGood() - before;
      await node.answer(at, turn);
      const text = `${turn} ${'x'.repeat(1_000)}`;
      const code = reasonCodes[turn % reasonCodes.length] ?? 'malformed';
      const about = { node: 'node-0', isEnrolled: true, address: '192.0.2.1', isProven: true };
      const { event } = refusals.note({ ...about, code, text }, at);
      if (event !== null) await node.store.audit.append(event);
      if (gates.isNew('node-0', `operator ${turn}`, at)) await node.store.audit.append(gateOpened(text));
      for (const end = at + 30 * second; at < end; at += 10 * second) await node.passTo(at);
    }
    const bytes = node.forGood() - before;
    const aDay = bytes + ((day - watched) / (watched / 2)) * (bytes - half);
    assert.ok(half > 0 && aDay <= 2_000_000, `${half} bytes, ${bytes} bytes, ${aDay} bytes a day`);
  });

  it('has one row a minute, which counts the changes and names states and codes; the audit log begins with one', async () => {
    await begin('states');
    await flap(180);
    const rows = (await history()).filter(({ flaps }) => flaps !== undefined);
    assert.deepEqual(
      rows.map((row) => [row.at / second, row.since / second, row.flaps?.changes, row.flaps?.states]),
      [
        [123, 64, 120, ['pending', 'untrusted']],
        [63, 4, 120, ['pending', 'untrusted']],
      ],
    );
    for (const { flaps } of rows) assert.ok(flaps?.codes.includes('kernel_unknown'));
    const log = await entries();
    assert.deepEqual(
      log.filter(({ action }) => action === 'flaps').map(({ detail }) => [detail.state, detail.changes]),
      [['untrusted', 120]],
    );
    assert.ok(verifyChain(log).ok);
  });

  it('is shown, stored and told to marks at once, each time', async () => {
    await begin('states');
    await flap(60);
    for (let count = 0; count < 4; count += 1) {
      const told = node.recorded.length;
      const state = await node.answer(at, turn);
      assert.equal(status()?.state, state);
      assert.equal((await node.store.verdicts.status('node-0'))?.state, state);
      assert.deepEqual(
        node.recorded.slice(told).map(({ verdict }) => verdict.state),
        ['pending', state],
      );
      const digest = status()?.evidenceDigest ?? '';
      assert.notEqual(await node.store.evidence.read(digest, 'node-0'), null);
      [turn, at] = [turn + 1, at + second];
    }
    assert.deepEqual(node.attestation().flapping(), ['node-0']);
  });

  it('never loses the first row of untrusted, with its evidence, though it flapped before (row 356)', async () => {
    await begin('reasons');
    await flap(100);
    node.boots('another system');
    assert.equal(await node.answer(at, turn), 'untrusted');
    const [row, begun] = await history();
    assert.deepEqual([row?.verdict.state, row?.transition], ['untrusted', true]);
    assert.ok((row?.verdict.reasons.length ?? 0) > 3);
    assert.deepEqual([begun?.verdict.reasons[0]?.code, (begun?.flaps?.changes ?? 0) > 1], ['rebooted', true]);
    node.boots('as before');
    await flap(10);
    assert.notEqual(await node.store.evidence.read(row?.evidenceDigest ?? '', 'node-0'), null);
    assert.equal((await entries()).filter(({ detail }) => detail.state === 'untrusted').length, 1);
  });

  it('never loses that row where it is refused at first: no room is left for its evidence (row 370)', async () => {
    await begin('reasons');
    await flap(100);
    node.boots('another system');
    node.fill(at, 6_000);
    await assert.rejects(node.answer(at, turn), { code: 'too_large' });
    at += 20 * second;
    assert.equal(await node.answer(at, turn), 'untrusted');
    const [row] = await history();
    assert.deepEqual([row?.verdict.state, row?.flaps?.states], ['untrusted', undefined]);
    node.boots('as before');
    await flap(10);
    assert.notEqual(await node.store.evidence.read(row?.evidenceDigest ?? '', 'node-0'), null);
  });

  it('is judged still, though it has more rows than all that may be kept of it: nobody can erase these (row 372)', async () => {
    await begin('reasons', share.burst + 32 * 1024);
    await flap(120, 20 * second);
    assert.ok(node.forGood() > share.burst);
    node.boots('another system');
    assert.equal(await node.answer(at, turn), 'untrusted');
  });

  for (const killed of [false, true])
    it(`has its row ${killed ? 'soon after a server was killed' : 'before the server ends'}`, async () => {
      await begin('states');
      await flap(31);
      // The row before says another state.
      const { state } = status() ?? {};
      assert.deepEqual([(await history())[0]?.verdict.state, state], ['untrusted', 'pending']);
      await node.restart(killed);
      await node.passTo(at + second);
      const [row] = await history();
      assert.deepEqual([row?.verdict.state, row?.transition], [state, true]);
      assert.ok((row?.flaps?.changes ?? 0) >= 1);
      assert.ok(verifyChain(await entries()).ok);
    });

  it('that flaps no more has rows as any other, an hour later', async () => {
    await begin('reasons');
    await flap(60);
    at += 61 * minute;
    await node.passTo(at);
    node.boots('another system');
    await node.answer(at, turn);
    const [row] = await history();
    assert.deepEqual([row?.flaps, row?.verdict.state], [undefined, 'untrusted']);
    assert.deepEqual(node.attestation().flapping(), []);
  });
});

/** As the server writes it, with the longest reason that it takes from a node. */
function gateOpened(reason: string): AuditEvent {
  const detail = { why: 'operator', bootId: 'b'.repeat(36), reason: outsideText(reason) };
  return { at: 0, actor: 'agent:node-0', action: 'gate.open', subject: 'node-0', code: null, detail };
}
