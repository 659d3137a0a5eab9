import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { PolicyError } from '../../../../attest-server/policy/file/policy-error.ts';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../../trials.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictsBy } from '../made-proof.ts';

describe('any text', () => {
  const words =
    'groups name nodes require boot identity severity mode labels tpm absent freshness cmdline forbid allow exact scope initrd unpinned dbx explained signers __proto__'.split(
      ' ',
    );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(...words, 'enforce', '*', null, 1, true),
      fc.array(tie('any'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...words, 'constructor'), tie('any')),
    ),
  })).any;
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom(...'[]{}&*!|>%@`:-? \n\t"\'#ab,') }),
    value.map((any) => JSON.stringify(any)),
    fc
      .tuple(value, value)
      .map(([group, more]) =>
        JSON.stringify({ apiVersion: 'assay.dev/v1', kind: 'Policy', groups: [group, more] }),
      ),
  );

  it('gives a policy or a PolicyError with lines', () =>
    fc.assert(
      fc.property(text, (any) => {
        try {
          assert.ok(checkPolicy(any, 'any.yaml').policy.groups.every(({ require }) => require.length > 0));
        } catch (error) {
          assert.ok(error instanceof PolicyError && error.faults.length > 0);
          assert.ok(error.faults.every(({ line }) => line >= 1));
        }
      }),
      { numRuns: trials(100) },
    ));
});

describe('a boot with any byte changed in a compared PCR', () => {
  const log = recordedLog('debian13-shim-grub');
  const policy = policyOf(
    'require: [identity, boot]',
    'severity: {pcr_mismatch: info, log_replay_mismatch: info}',
  );
  const at = 0;
  const appraise = verdictsBy(policy, [capturedFrom(madeProof({ log }))]);

  it('is never trusted, even where the policy takes it lightly', () =>
    fc.assert(
      fc.property(
        fc.constantFrom(0, 2, 4, 6, 7, 8, 9),
        fc.nat(31),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        (pcr, byte, flip, withLog) => {
          const values = replayedValues(log, 'sha256');
          values[32 * pcr + byte]! ^= flip;
          const proven = madeProof({ values, log: withLog ? log : null });
          assert.notEqual(appraise(proven, { name: 'n' }, at).state, 'trusted');
        },
      ),
    ));
});
