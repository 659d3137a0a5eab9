import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { noPast } from '../../../../attest-server/policy/appraise.ts';
import { isSameMachine } from '../../../../attest-server/policy/identity/system-uuid.ts';
import type { Facts } from '../../../../attest-server/wire/facts.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { madeProof, policyOf, verdictOn } from '../made-proof.ts';

const shown = '00112233-4455-6677-8899-aabbccddeeff';
const at = Date.parse('2026-11-25T12:00:00Z');

describe('the system UUID of a node and of its Node in the cluster', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['the same', shown, true],
    ['in capitals', shown.toUpperCase(), true],
    ['with the first three fields in the other byte order', '33221100-5544-7766-8899-aabbccddeeff', true],
    ['without dashes', shown.replaceAll('-', ''), true],
    ['of another form, which no UUID has', 'ec2-instance', true],
    ['another one', '00112233-4455-6677-8899-aabbccddeefe', false],
    ['with one field alone in the other byte order', '33221100-4455-6677-8899-aabbccddeeff', false],
  ];
  for (const [what, known, isSame] of cases)
    it(`name ${isSame ? 'one machine' : 'two machines'} where the one is ${what}`, () => {
      assert.equal(isSameMachine(known, shown), isSame);
      assert.equal(isSameMachine(shown, known), isSame);
    });

  const facts: Facts = {
    purpose: 'attest',
    node: 'one',
    bootId: '0'.repeat(36),
    helloDigest: '0'.repeat(64),
    host: { systemUuid: shown },
  };
  const judged = (clusterUuid: string | null, policy = policyOf('require: [identity]')) => {
    const { state, reasons } = verdictOn(
      provenByHand(madeProof({ log: recordedLog('debian13-shim-grub') }), { facts }),
      policy,
      { name: 'one', past: { ...noPast, clusterUuid } },
      [],
      at,
    );
    const own = reasons.filter(({ aspect }) => aspect === 'identity');
    return [state, ...own.map(({ code, severity, source }) => `${code} ${severity} ${source}`)].join(', ');
  };

  it('are a warning where they differ, by the word of the node: firmware may show a machine two', () => {
    assert.equal(judged(shown), 'trusted');
    assert.equal(judged(null), 'trusted');
    assert.equal(judged(`f${shown.slice(1)}`), 'trusted, identity_claim_mismatch warn host');
  });

  it('weigh what the policy says', () => {
    const strict = policyOf('require: [identity]', 'severity: {identity_claim_mismatch: fail}');
    assert.equal(judged(`f${shown.slice(1)}`, strict), 'untrusted, identity_claim_mismatch fail host');
  });
});
