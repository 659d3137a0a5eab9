import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { nextStep } from '../../../../attest-server/policy/advice.ts';
import { appraise } from '../../../../attest-server/policy/appraise.ts';
import { unknownIn } from '../../../../attest-server/policy/kept-unknown.ts';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { policyOf } from '../made-proof.ts';
import { at, judged, partWith, provenWith, referenceOf } from './made-firewall.ts';

const rules = (...lines: readonly string[]): FirewallPart =>
  partWith({
    iptables: {
      ip: [
        '*filter',
        ':INPUT DROP [1:2]',
        ':FORWARD ACCEPT [0:0]',
        ':OUTPUT ACCEPT [3:4]',
        ...lines,
        'COMMIT',
        '',
      ].join('\n'),
      ip6: null,
    },
  });
const closed = rules('-A INPUT -i lo -j ACCEPT');
const opened = rules('-A INPUT -i lo -j ACCEPT', '-A INPUT -p tcp -m tcp --dport 9100 -j ACCEPT');
const counted = rules('[7:420] -A INPUT -i lo -j ACCEPT', '-A INPUT -p tcp -m tcp --dport 9100 -j ACCEPT');
const baseline = referenceOf(closed);
const required = policyOf('require: [firewall]');
const unasked = policyOf('mode: observe', 'require: [identity]');

function unknownOf(part: FirewallPart, references: readonly Reference[], policy = required) {
  const { next } = appraise(provenWith(part), policy, { name: 'one' }, references, at);
  return unknownIn(next.memory).firewall ?? null;
}

describe('rules of a firewall that no reference in force has', () => {
  it('are the same on two nodes whatever was counted, and others where a rule is another one', () => {
    const set = unknownOf(opened, [baseline])?.set ?? assert.fail();
    assert.equal(unknownOf(counted, [baseline])?.set, set);
    assert.equal(unknownOf(opened, [])?.set, set);
    assert.notEqual(unknownOf(rules('-A INPUT -j ACCEPT'), [baseline])?.set, set);
    assert.equal(unknownOf(closed, [baseline]), null);
  });

  it('name the chains that differ', () => {
    const things = unknownOf(opened, [baseline])?.things ?? [];
    assert.deepEqual(things, [{ what: 'rules', name: 'iptables ip filter INPUT', digest: null, more: 0 }]);
  });

  it('wait for nobody where no rules were vouched for, and none are asked for', () => {
    assert.equal(unknownOf(opened, [], unasked), null);
    assert.notEqual(unknownOf(opened, [baseline], unasked), null);
    assert.notEqual(unknownOf(opened, [{ ...baseline, state: 'staged' }], unasked), null);
  });

  for (const state of ['staged', 'retired'] as const)
    it(`are those of a ${state} reference, and the reason has the command that puts it in force`, () => {
      const next: Reference = { ...referenceOf(opened, 'next'), state };
      for (const references of [[next], [baseline, next]]) {
        const reason = judged(opened, references).reasons.find(({ outOfForce }) => outOfForce === 'next');
        assert.match(
          nextStep(reason ?? assert.fail()),
          /^ {2}assay reference approve next --reason "its rules are wanted"$/m,
        );
        assert.equal(unknownOf(opened, references)?.knownBy, 'next');
      }
      assert.equal(unknownOf(rules('-A INPUT -j ACCEPT'), [baseline, next])?.knownBy, null);
    });
});
