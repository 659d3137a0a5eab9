import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { appraise, overdueVerdict } from '../../../attest-server/policy/appraise.ts';
import { aspects } from '../../../attest-server/policy/aspects.ts';
import { stateOf } from '../../../attest-server/policy/finding.ts';
import { classOf, isReasonCode, type ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { AspectName, AspectResult, Reason } from '../../../attest-server/wire/verdict.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from './made-proof.ts';

const reason = (code: ReasonCode, aspect: AspectName, severity: Reason['severity'] = 'fail'): Reason => ({
  code,
  class: classOf(code),
  aspect,
  severity,
  source: 'tpm',
  expected: null,
  actual: null,
  text: 'made',
  evidence: null,
});
const affirmed: AspectResult = { status: 'affirming', source: 'tpm' };
const said: AspectResult = { status: 'affirming', source: 'host' };
const none: AspectResult = { status: 'none', source: 'tpm' };

describe('the state that follows', () => {
  const both = ['identity', 'boot'] as const;
  const table: readonly (readonly [
    string,
    readonly AspectName[],
    Partial<Record<AspectName, AspectResult>>,
    readonly Reason[],
    readonly AspectName[],
    string,
  ])[] = [
    ['all that is required affirms', both, { identity: affirmed, boot: affirmed }, [], [], 'trusted'],
    ['one of them does not', both, { identity: affirmed, boot: none }, [], [], 'pending'],
    ['one of them is missing', both, { identity: affirmed }, [], [], 'pending'],
    ['nothing is required', [], { identity: affirmed }, [], [], 'pending'],
    [
      'a required one broke the policy',
      both,
      { identity: affirmed, boot: affirmed },
      [reason('kernel_unknown', 'boot')],
      [],
      'untrusted',
    ],
    [
      'one that is not required did',
      ['identity'],
      { identity: affirmed, boot: none },
      [reason('kernel_unknown', 'boot')],
      [],
      'trusted',
    ],
    [
      'a counter went back, whoever asks for the identity',
      ['boot'],
      { identity: affirmed, boot: affirmed },
      [reason('counter_rollback', 'identity')],
      [],
      'untrusted',
    ],
    [
      'what is not proven yet fails',
      both,
      { identity: affirmed, boot: none },
      [reason('no_reference', 'boot')],
      [],
      'pending',
    ],
    [
      'the node is silent',
      both,
      { identity: none, boot: none },
      [reason('evidence_overdue', 'identity')],
      [],
      'unknown',
    ],
    [
      'the TPM must vouch and the node says so alone',
      ['firewall'],
      { firewall: said },
      [],
      ['firewall'],
      'pending',
    ],
    ['the node says so, and that is enough', ['firewall'], { firewall: said }, [], [], 'trusted'],
  ];
  for (const [when, require, results, reasons, vouched, state] of table)
    it(`is ${state} where ${when}`, () =>
      assert.equal(stateOf({ require, aspects: results, reasons }, vouched), state));
});

describe('every aspect of the list', () => {
  it('has advice for codes that there are, and rules that an empty file gives', () => {
    const names = aspects.map(({ name }) => name);
    assert.deepEqual(names, [...new Set(names)]);
    for (const { advice, rules, schema, name } of aspects) {
      assert.ok(Object.keys(advice).length > 0, name);
      for (const code of Object.keys(advice)) assert.ok(isReasonCode(code), code);
      assert.equal(rules(undefined) === null, schema === null, name);
    }
  });
});

describe('a boot that has begun', () => {
  const log = recordedLog('debian13-shim-grub');
  const proven = madeProof({ log });
  const policy = policyOf('require: [identity, boot]');
  const references = [capturedFrom(proven)];
  const first = appraise(proven, policy, { name: 'n' }, references, 0);
  const before = { ...first.next.sequence, resetCount: first.next.sequence.resetCount - 1 };
  const past = { sequence: before, concurrent: false, twins: [], sentParts: ['boot'], memory: {} } as const;

  it('is pending until it is appraised, where the policy asks for it', () => {
    const { verdict, begun } = appraise(proven, policy, { name: 'n', past }, references, 0);
    assert.equal(verdict.state, 'trusted');
    assert.deepEqual([begun?.code, begun?.verdict?.state], ['rebooted', 'pending']);
    assert.deepEqual(
      begun?.verdict?.reasons.map(({ code, severity, source }) => [code, severity, source]),
      [['rebooted', 'info', 'tpm']],
    );
    const observed = appraise(proven, policyOf('require: [identity]'), { name: 'n', past }, references, 0);
    assert.deepEqual([observed.begun?.code, observed.begun?.verdict], ['rebooted', null]);
  });

  it('of a group without TPMs is none', () => {
    const { verdict, begun } = appraise(proven, policyOf('tpm: absent'), { name: 'n', past }, [], 0);
    assert.deepEqual([verdict.state, begun], ['unsupported', null]);
  });
});

describe('silence', () => {
  it('makes a trusted node unknown, and affirms nothing', () => {
    const proven = madeProof({ log: recordedLog('debian13-shim-grub') });
    const verdict = verdictOn(proven, policyOf('require: [identity]'), { name: 'n' }, [], 0);
    assert.equal(verdict.state, 'trusted');
    const later = overdueVerdict(verdict, 1000, 'nothing has come from it');
    assert.deepEqual(
      [later.state, later.reasons[0]?.code, later.reasons[0]?.actual, later.reasons[0]?.text],
      [
        'unknown',
        'evidence_overdue',
        'the last one of 1970-01-01T00:00:01.000Z',
        'The node has not proven itself lately: nothing has come from it.',
      ],
    );
    assert.ok(Object.values(later.aspects).every(({ status }) => status === 'none'));
  });
});
