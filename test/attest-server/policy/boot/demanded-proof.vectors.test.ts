import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { verifyBundle } from '../../../../attest-server/cli/offline/verify/verify.ts';
import { type Bundle, parseBundle } from '../../../../attest-server/formats/bundle.ts';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { captureReferencesInSteps } from '../../../../attest-server/policy/capture.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../../attest-server/policy/policy.ts';
import { verifyBundleEvidence } from '../../../../attest-server/verify/bundle-evidence.ts';

const vectors = join(import.meta.dirname, '../../../../swtpm-fixtures/vectors');
/** Of a virtual machine that systemd-boot started, with its kernel's own list. */
const recorded = (name: string): Bundle =>
  parseBundle(readFileSync(join(vectors, name, 'bundle.json'), 'utf8'));
const policy = parsePolicy(readFileSync(join(vectors, '132-control/policy.yaml'), 'utf8'), 'policy.yaml');

function withoutList(bundle: Bundle): Bundle {
  const { ima: _, ...parts } = bundle.parts;
  return { ...bundle, parts };
}

function captured(bundle: Bundle): readonly Reference[] {
  const proven = verifyBundleEvidence(bundle, null);
  const about = { name: 'good', state: 'active', by: 'me', at: 0, only: null } as const;
  const group = groupOf(policy, 'worker-1', {});
  return atOnce(captureReferencesInSteps('boot', [{ node: 'worker-1', proven }], group, about));
}

function judged(bundle: Bundle, references: readonly Reference[]): string {
  const { verdict } = verifyBundle(JSON.stringify(bundle), { policy, references, now: 1 });
  const codes = verdict.reasons.flatMap(({ code, severity }) =>
    code === 'identity_unproven' ? [] : `${code} ${severity}`,
  );
  return [verdict.state, ...codes].join(', ');
}

describe('a proof that a recorded boot of systemd-boot gave', () => {
  const [honest, attacked] = [recorded('132-control'), recorded('132-initrd-by-options')];
  const references = captured(honest);

  it('is remembered by its reference, and the boot is trusted by that', () => {
    assert.deepEqual(
      references.map(({ aggregate }) => aggregate),
      ['required'],
    );
    assert.equal(judged(honest, references), 'trusted');
  });

  it('leaves another initrd pending whose node never sent the list, offline too (row 340)', () => {
    assert.equal(judged(withoutList(attacked), references), 'pending, facts_unavailable fail');
    assert.equal(judged(attacked, references), 'untrusted, boot_remeasured fail');
  });

  it('is demanded by no reference of before, nor by one of the same boot without the list', () => {
    const before = references.map(({ aggregate: _, ...reference }) => reference);
    assert.equal(judged(withoutList(attacked), before), 'trusted, facts_unavailable info');
    assert.deepEqual(
      captured(withoutList(honest)).map(({ aggregate = null }) => aggregate),
      [null],
    );
  });
});
