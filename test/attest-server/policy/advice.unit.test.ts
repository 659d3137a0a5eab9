import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { nextStep } from '../../../attest-server/policy/advice.ts';
import { reasonCodes } from '../../../attest-server/protocol/reasons.ts';
import { runAssay } from '../cli/cli-fixture.ts';

describe('what to do next', () => {
  it('is said for every code, with the node in its commands where it is known', () => {
    for (const code of reasonCodes) {
      assert.ok(nextStep(code).length > 0, code);
      assert.ok(!nextStep(code, 'worker-3').includes('NODE'), code);
    }
    assert.ok(nextStep('kernel_unknown', 'worker-3').includes('assay reference capture worker-3 --name'));
    assert.ok(nextStep('kernel_unknown', 'worker-3').includes('assay boot diff worker-3@'));
    assert.equal(
      nextStep('kernel_unknown', '$&'),
      nextStep('kernel_unknown').replaceAll('NODE', () => '$&'),
    );
  });

  it('is said in words of its own for what the evidence itself is refused for', () => {
    for (const code of [
      ...([
        'identity_unproven',
        'bank_mismatch',
        'sig_invalid',
        'pcr_digest_mismatch',
        'pcr_selection',
      ] as const),
      ...(['ak_name_mismatch', 'ak_attributes', 'ak_hierarchy', 'weak_key', 'ek_cert_key_mismatch'] as const),
      ...(['not_tpm_generated', 'wrong_attest_type', 'too_large'] as const),
    ])
      assert.notEqual(nextStep(code), nextStep('label_tamper'), code);
  });

  it('names commands that there are', async () => {
    const named = new Set(
      reasonCodes.flatMap((code) =>
        [...nextStep(code).matchAll(/assay ((?:[a-z-]+)(?: [a-z-]+)?)/g)].map(([, words]) => words ?? ''),
      ),
    );
    assert.ok(named.size > 5);
    for (const words of named) {
      const { code, err } = await runAssay([...words.split(' '), '--help']);
      assert.deepEqual([code, err], [0, ''], words);
    }
  });
});
