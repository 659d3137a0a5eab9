import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { appraise, type NodePast, noPast } from '../../../../attest-server/policy/appraise.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { capturedFrom, madeProof, policyOf } from '../made-proof.ts';
import { file, RunningNode } from '../runtime/running-node.ts';

const good = madeProof({ log: recordedLog('debian13-shim-grub') });
const references = [capturedFrom(good)];
const policy = policyOf('require: [boot]');

describe('a second boot_aggregate in the list of IMA (row 99)', () => {
  it('is another kernel that kexec started, until the next reset', () => {
    const node = new RunningNode();
    const before = node.answer('new');
    const after = node.kexec().answer('new');
    const told = 'pending kexec_detected tpm';
    assert.deepEqual(
      inTurn([
        of(before),
        of(after),
        // The list need not come again, and is one of a later kernel then.
        of(node.run(file('/usr/bin/a')).answer('new')),
        of(provenByHand(after, { ima: null, aggregate: null })),
        of(new RunningNode().answer(), { resetCount: 8, boot: 'b' }),
      ]),
      ['trusted', told, told, told, 'trusted'],
    );
  });

  it('is told once where the node says it, too', () => {
    const node = new RunningNode();
    const before = of(node.answer('new'));
    const after = of(node.kexec().answer('new'), { boot: 'b' });
    assert.deepEqual(inTurn([before, after]), ['trusted', 'pending kexec_detected host']);
  });
});

function of(proven: Proven, { resetCount = 7, boot = 'a' } = {}): Proven {
  const bootId = `${boot.repeat(8)}-8b86-4011-b42d-00cf4fc964ff`;
  const facts = { purpose: 'attest', node: 'n', bootId, helloDigest: '00'.repeat(32) } as const;
  return provenByHand(proven, { facts, clock: { ...proven.clock, resetCount } });
}

/** State, code and source of each, but for what is told of every reset. */
function inTurn(answers: readonly Proven[]): readonly string[] {
  let past: NodePast = noPast;
  return answers.map((proven) => {
    const { verdict, next } = appraise(proven, policy, { name: 'n', past }, references, 0);
    past = { ...noPast, sequence: next.sequence, memory: JSON.parse(JSON.stringify(next.memory)) };
    const found = verdict.reasons.filter(({ severity }) => severity === 'fail');
    return [verdict.state, ...found.map(({ code, source }) => `${code} ${source}`)].join(' ');
  });
}
