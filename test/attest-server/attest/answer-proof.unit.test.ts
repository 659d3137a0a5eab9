import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'mocha';
import { AnswerProofs } from '../../../attest-server/attest/answer-proof.ts';
import { OwnedNodes } from '../../../attest-server/attest/owned-nodes.ts';
import { Verifier } from '../../../attest-server/verify/verifier.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts } from './made-machine.ts';

/** With a clock that stands. */
async function proofs(nodes = new OwnedNodes([])): Promise<AnswerProofs> {
  const store = await openMadeStore(':memory:');
  return new AnswerProofs(nodes, new Verifier(), madePorts(store, { monotonic: () => 0 }));
}
const machine = madeMachine('node-1');
const answerOf = (of: MadeMachine = machine) => of.answer(0, { occasion: { node: 'node-1' } });

describe('the proof of an answer', () => {
  it('is charged to the node from where its own key has signed, and before that to nobody (row 361)', async () => {
    const nodes = new OwnedNodes([]);
    const all = await proofs(nodes);
    const foreign = madeMachine('node-1', forgedTpm());
    for (let round = 0; round < 100; round++)
      assert.throws(() => all.begin(machine.node, answerOf(foreign)), { code: 'ak_mismatch' });
    assert.equal(nodes.get('node-1'), undefined);
    for (let round = 0; round < 60; round++) all.begin(machine.node, answerOf());
    assert.throws(() => all.begin(machine.node, answerOf()), { code: 'too_large' });
    assert.equal(all.wait('node-1'), 1_000);
    assert.deepEqual(all.figures(), { spent: 1, waiting: 0 });
    nodes.drop(nodes.of('node-1'));
    assert.equal(all.wait('node-1'), 0);
  });

  it('gives the log of an answer back that is refused before anybody read it (row 400)', async () => {
    const all = await proofs();
    const answer = machine.answer(0, { occasion: { bootLog: Buffer.alloc(200 * 1024) } });
    const log = answer.parts.boot?.bytes;
    const shown = all.begin(machine.node, answer);
    assert.equal(log?.length, 200 * 1024);
    assert.ok(shown(answer.parts).isHeavy);
    const foreign = { ...machine.node, ak: madeMachine('node-1', forgedTpm()).node.ak };
    assert.throws(() => all.begin(foreign, answer), { code: 'ak_mismatch' });
    assert.equal(log.length, 0);
  });

  it('is charged for the bytes that came, whatever they are', async () => {
    const all = await proofs();
    const pieces = Array.from({ length: limits.ima.pieces }, () => randomBytes(limits.ima.piece));
    const shown = () => {
      const supplements = { ima: { asked: null, came: { from: 0, more: true, pieces } } };
      const answer = { ...answerOf(), supplements };
      return all.begin(machine.node, answer)(answer.parts);
    };
    assert.equal(shown().isHeavy, false);
    for (let round = 0; round < 8; round++) shown();
    assert.equal(shown().isHeavy, true);
  });

  it('takes a turn where much is to be read, or a long log was read before (row 362)', async () => {
    const all = await proofs();
    const isHeavy = (bytes: number) => {
      const bootLog = Buffer.alloc(bytes);
      const answer = machine.answer(0, { occasion: { bootLog } });
      return all.begin(machine.node, answer)(answer.parts).isHeavy;
    };
    assert.equal(isHeavy(100 * 1024), false);
    assert.equal(isHeavy(200 * 1024), true);
  });
});
