import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { appraise, type NodePast, noPast } from '../../../attest-server/policy/appraise.ts';
import { addsNothing, gateOrderOf } from '../../../attest-server/policy/gate.ts';
import { holdsWithoutEnd, type Policy } from '../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { Role } from '../../../attest-server/wire/roles.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof, policyOf } from './made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const good = madeProof({ log });
const changed = madeProof({ log: tamper(log, 'kernel') });
const references = [capturedFrom(good)];
const whole = policyOf('require: [identity, boot, disk, firewall]\n    mode: enforce');
const bootOnly = policyOf('require: [identity, boot]\n    mode: enforce');
/** A node that has sent every part before. */
const sentAll: NodePast = { ...noPast, sentParts: ['boot', 'userSpace', 'disk', 'firewall'] };
const brokenFirewall = {
  against: {
    firewall: [
      {
        code: 'fw_drift',
        aspect: 'firewall',
        source: 'host',
        expected: 'the baseline',
        actual: 'another rule',
        text: 'A rule is another one.',
        evidence: null,
      },
    ],
  },
};

const by = (role: Role, proven: Proven, policy: Policy = whole, past: NodePast = sentAll) =>
  appraise(proven, policy, { name: 'one', past, by: role }, references, at);
const gate = (...args: [Proven, Policy?, NodePast?]): Verdict => by('gate', ...args).verdict;
const codes = ({ reasons }: Verdict) => reasons.map(({ code, severity }) => `${code} ${severity}`);
const order = (verdict: Verdict) => gateOrderOf(verdict, { mode: verdict.mode, gate: holdsWithoutEnd });

describe('what a gate proves', () => {
  it('is identity and boot, and that parts are missing which it never sends is no finding', () => {
    const verdict = gate(good);
    assert.deepEqual(codes(verdict).slice(0, 1), ['rebooted info']);
    assert.ok(!codes(verdict).some((each) => each.endsWith('fail')));
    assert.equal(verdict.state, 'pending');
    assert.deepEqual(
      [verdict.aspects.identity?.status, verdict.aspects.boot?.status, verdict.aspects.disk?.status],
      ['affirming', 'affirming', 'none'],
    );
    assert.deepEqual([order(verdict).proven, order(verdict).codes], [true, []]);
  });

  it('makes no node trusted, for it shows no token of the cluster, although its policy asks for nothing more (row 13)', () => {
    assert.equal(by('agent', good, bootOnly).verdict.state, 'trusted');
    assert.equal(gate(good, bootOnly).state, 'pending');
  });

  it('makes a node untrusted that booted another kernel, and tells the gate why', () => {
    const verdict = gate(changed);
    assert.equal(verdict.state, 'untrusted');
    const { proven, codes: lacking } = order(verdict);
    assert.deepEqual([proven, lacking[0]], [false, 'kernel_unknown']);
  });

  it('leaves what stood against another aspect, for as often as it answers', () => {
    const past = { ...sentAll, memory: brokenFirewall };
    const first = by('gate', good, whole, past);
    assert.equal(first.verdict.state, 'untrusted');
    assert.deepEqual(first.next.memory.against, brokenFirewall.against);
    const again = by('gate', good, whole, { ...past, memory: first.next.memory });
    assert.deepEqual(again.verdict.reasons, first.verdict.reasons);
    // That is no concern of the gate.
    assert.equal(order(first.verdict).proven, true);
  });

  it('remembers what stands against the boot, as an answer of the agent does', () => {
    const { memory } = by('gate', changed).next;
    const silent = by('agent', madeProof({}), whole, { ...sentAll, memory });
    assert.ok(JSON.stringify(memory).includes('kernel_unknown'));
    assert.equal(silent.verdict.state, 'untrusted');
  });

  it('adds nothing to what the agent has proven of the same boot, but what speaks against it', () => {
    const trusted = by('agent', good, bootOnly).verdict;
    assert.ok(addsNothing(trusted, gate(good, bootOnly), 'gate'));
    assert.ok(!addsNothing(trusted, gate(changed, bootOnly), 'gate'));
    const untrusted = by('agent', changed, bootOnly).verdict;
    assert.ok(addsNothing(untrusted, gate(changed, bootOnly), 'gate'));
    assert.ok(!addsNothing(untrusted, gate(good, bootOnly), 'gate'));
    // Under another policy only what is trusted stays.
    const other = policyOf('require: [identity, boot]\n    mode: label');
    assert.ok(addsNothing(trusted, gate(good, other), 'gate'));
    assert.ok(!addsNothing(untrusted, gate(changed, other), 'gate'));
  });
});
