import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { builtAspects } from '../../../attest-server/policy/aspects.ts';
import { earStatus } from '../../../attest-server/policy/ear-status.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import { observePolicy, strictPolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import { classOf } from '../../../attest-server/wire/reasons.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { withMadeFiles } from '../../../swtpm-fixtures/loader-files.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog, shimGrubBoots } from '../../swtpm-fixtures/recorded-log.ts';
import {
  byValues,
  capturedFrom,
  madeProof,
  policyOf,
  replayedValues,
  sentLog,
  verdictOn,
  verdictsBy,
} from './made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const good = madeProof({ log });
const required = policyOf('require: [identity, boot]');

function captured(proven: Proven, change: Partial<Reference> = {}): Reference {
  return { ...capturedFrom(proven), ...change };
}

function judged(proven: Proven, references: readonly Reference[], policy: Policy = required): Verdict {
  return verdictOn(proven, policy, { name: 'worker-1' }, references, at);
}

/** A reference by PCR values and events. */
const valued = (change: Partial<Reference> = {}) => ({ ...byValues(captured(good), log), ...change });
const codes = ({ reasons }: Verdict) => reasons.map(({ code }) => code);
const summary = (verdict: Verdict) => [verdict.state, ...codes(verdict)];
const withPcr = (pcr: number, byte = 1) => {
  const values = replayedValues(log, 'sha256');
  values[32 * pcr]! ^= byte;
  return values;
};

describe('a boot that is as its reference', () => {
  it('is trusted, with what the trust rests on', () => {
    const verdict = judged(good, [captured(good)]);
    const { aspects, ...others } = verdict;
    assert.deepEqual(aspects.identity, { status: 'affirming', source: 'tpm' });
    assert.deepEqual(aspects.boot, { status: 'affirming', source: 'tpm', references: ['ref'] });
    assert.deepEqual(others, {
      state: 'trusted',
      reasons: [],
      group: 'workers',
      require: ['identity', 'boot'],
      mode: 'observe',
      policy: `made@${required.revision}`,
    });
    assert.equal(earStatus(verdict), 'affirming');
  });

  it('may match any one of several references', () => {
    const other = captured(madeProof({ log: recordedLog('centos9-shim-grub') }));
    assert.equal(judged(good, [other, captured(good)]).state, 'trusted');
  });

  for (const bank of ['sha384', 'sha512'] as const)
    it(`is trusted by its ${bank} bank as well`, () => {
      const proven = madeProof({ log, bank });
      assert.equal(judged(proven, [captured(proven)]).state, 'trusted');
    });

  for (const pcr of [1, 3, 5, 10, 11, 16, 23])
    it(`may differ in PCR ${pcr}, which is not compared`, () => {
      const reference = valued({ events: [] });
      const proven = madeProof({ values: withPcr(pcr) });
      assert.deepEqual(summary(judged(proven, [reference])), ['pending', 'no_boot_log']);
    });
});

describe('a tampered boot', () => {
  const tampered = [
    ['kernel', 'kernel_unknown'],
    ['cmdline', 'cmdline_policy'],
    ['secureboot', 'secureboot_off'],
  ] as const;
  for (const name of shimGrubBoots)
    for (const [what, code] of tampered)
      it(`of ${name} with another ${what} is untrusted, ${code}`, () => {
        const before = withMadeFiles(recordedLog(name));
        const reference = captured(madeProof({ log: before }));
        const after = madeProof({ log: tamper(before, what) });
        const verdict = judged(after, [reference]);
        assert.deepEqual(summary(verdict), ['untrusted', code]);
        assert.equal(earStatus(verdict), 'contraindicated');
        const [reason] = verdict.reasons;
        assert.equal(reason?.class, classOf(code));
        assert.equal(reason?.evidence?.digest, after.boot?.digest);
        assert.match(reason?.evidence?.position ?? '', /^event \d+$/);
        assert.match(reason?.expected ?? '', /sha256:[0-9a-f]{64}$/);
        assert.match(reason?.actual ?? '', /sha256:[0-9a-f]{64}$/);
      });

  const recorded = [
    ['debian13-shim-grub', 'debian13-shim-grub-kernel', 'kernel_unknown'],
    ['debian13-shim-grub', 'debian13-shim-grub-cmdline', 'cmdline_policy'],
    ['debian13-sdboot-uki', 'debian13-sdboot-uki-cmdline', 'cmdline_policy'],
  ] as const;
  for (const [before, after, code] of recorded)
    it(`as recorded, ${after} after ${before}, is ${code}`, () => {
      const reference = captured(madeProof({ log: recordedLog(before) }));
      assert.deepEqual(summary(judged(madeProof({ log: recordedLog(after) }), [reference])), [
        'untrusted',
        code,
      ]);
    });

  it('is compared with the closest reference', () => {
    const far = captured(madeProof({ log: recordedLog('centos9-shim-grub') }), { name: 'far' });
    const near = captured(good, { name: 'near' });
    const verdict = judged(madeProof({ log: tamper(log, 'kernel') }), [far, near]);
    assert.deepEqual(codes(verdict), ['kernel_unknown']);
    assert.match(verdict.reasons[0]?.text ?? '', /near/);
  });

  it('where only observed, is told as information and stays trusted by its identity', () => {
    const verdict = judged(
      madeProof({ log: tamper(log, 'kernel') }),
      [captured(good)],
      policyOf('mode: observe'),
    );
    assert.deepEqual(summary(verdict), ['trusted', 'kernel_unknown']);
    assert.equal(verdict.reasons[0]?.severity, 'info');
    assert.deepEqual(verdict.require, ['identity']);
    assert.equal(verdict.aspects.boot?.status, 'none');
  });

  it('weakened by the policy is not untrusted, and never trusted', () => {
    const policy = policyOf('require: [identity, boot]', 'severity: {kernel_unknown: warn}');
    const verdict = judged(madeProof({ log: tamper(log, 'kernel') }), [captured(good)], policy);
    assert.deepEqual(summary(verdict), ['pending', 'kernel_unknown']);
    assert.notEqual(earStatus(verdict), 'affirming');
  });
});

describe('a boot that no event explains', () => {
  for (const pcr of [0, 2, 4, 6, 7, 8, 9])
    it(`is pcr_mismatch in PCR ${pcr} without a log`, () => {
      const verdict = judged(madeProof({ values: withPcr(pcr) }), [valued()]);
      assert.deepEqual(summary(verdict), ['untrusted', 'pcr_mismatch']);
      assert.match(verdict.reasons[0]?.actual ?? '', new RegExp(`^PCR ${pcr} sha256:`));
    });

  it('is not explained by a log that does not replay onto the PCR', () => {
    const lying = madeProof({ log: tamper(log, 'kernel'), values: replayedValues(log, 'sha256') });
    assert.deepEqual(
      [...new Set(summary(judged(lying, [captured(good)])))],
      ['untrusted', 'log_replay_mismatch'],
    );
    const moved = madeProof({ log: tamper(log, 'kernel'), values: withPcr(4) });
    const found = codes(judged(moved, [valued()]));
    assert.ok(found.includes('pcr_mismatch') && found.includes('log_replay_mismatch'));
  });

  it('is pcr_mismatch where the reference keeps no events', () => {
    const verdict = judged(madeProof({ log: tamper(log, 'kernel') }), [valued({ events: [] })]);
    assert.deepEqual(codes(verdict), ['pcr_mismatch']);
  });

  it('is pcr_mismatch where a referenced PCR was not quoted', () =>
    assert.deepEqual(summary(judged(madeProof({ log, mask: 0xffffff & ~(1 << 9) }), [captured(good)])), [
      'untrusted',
      'pcr_mismatch',
    ]));

  it('is pcr_mismatch where the reference lacks a quoted PCR', () => {
    const { 9: _left, ...rest } = valued().pcrs.sha256 ?? {};
    assert.deepEqual(codes(judged(good, [valued({ pcrs: { sha256: rest } })])), ['pcr_mismatch']);
  });

  const unusable: readonly (readonly [string, Reference['pcrs']])[] = [
    ['no value', {}],
    ['another bank', byValues(captured(good), log, 'sha384').pcrs],
    ['values of a wrong size', { sha256: { 4: '00'.repeat(20) } }],
    ['SHA-1 values alone', { sha1: { 4: '00'.repeat(20) } }],
  ];
  for (const [what, pcrs] of unusable)
    it(`is pcr_mismatch where the reference has ${what}`, () =>
      assert.deepEqual(summary(judged(good, [valued({ pcrs })])), ['untrusted', 'pcr_mismatch']));
});

describe('a boot that cannot be judged', () => {
  const waiting: readonly (readonly [string, readonly Reference[]])[] = [
    ['no reference', []],
    ['a staged reference', [captured(good, { state: 'staged' })]],
    ['a retired reference', [captured(good, { state: 'retired' })]],
    ['an expired reference', [captured(good, { expires: '2026-11-25T12:00:00Z' })]],
    ['the reference of another group', [captured(good, { group: 'others' })]],
  ];
  for (const [what, references] of waiting)
    it(`is pending with ${what}`, () => {
      const verdict = judged(good, references);
      assert.deepEqual(summary(verdict), ['pending', 'no_reference']);
      assert.equal(earStatus(verdict), 'none');
    });

  it('is pending where the policy names another reference', () => {
    const policy = policyOf('require: [identity, boot]', 'boot: {references: [theirs]}');
    assert.deepEqual(summary(judged(good, [captured(good)], policy)), ['pending', 'no_reference']);
    assert.equal(
      judged(good, [captured(good, { name: 'theirs', group: 'others' })], policy).state,
      'trusted',
    );
  });

  it('is pending without a log', () =>
    assert.deepEqual(
      summary(judged(madeProof({ values: replayedValues(log, 'sha256') }), [captured(good)])),
      ['pending', 'no_boot_log'],
    ));

  it('is judged by its PCR values alone where the policy says so', () => {
    const policy = policyOf('require: [identity, boot]', 'boot: {withoutLog: pcrs}');
    const proven = madeProof({ values: replayedValues(log, 'sha256') });
    assert.deepEqual(summary(judged(proven, [valued()], policy)), ['trusted', 'no_boot_log']);
    assert.deepEqual(summary(judged(proven, [captured(good)], policy)), ['pending', 'no_boot_log']);
    assert.deepEqual(summary(judged(madeProof({ values: withPcr(4) }), [valued()], policy)), [
      'untrusted',
      'pcr_mismatch',
    ]);
    const verdict = verdictOn(proven, policy, { name: 'n', past: sentLog }, [valued()], at);
    assert.deepEqual(summary(verdict), ['untrusted', 'log_incomplete']);
    const ruled = policyOf('require: [identity, boot]', 'boot: {withoutLog: pcrs, secureBoot: required}');
    assert.deepEqual(summary(judged(proven, [valued()], ruled)), ['pending', 'no_boot_log']);
  });

  it('is untrusted where the node sent a log before', () => {
    const proven = madeProof({ values: replayedValues(log, 'sha256') });
    const verdict = verdictOn(proven, required, { name: 'n', past: sentLog }, [captured(good)], at);
    assert.deepEqual(summary(verdict), ['untrusted', 'log_incomplete']);
  });

  it('is pending where no endorsement key vouches for the attestation key', () => {
    const verdict = judged(madeProof({ log, ekDigest: null }), [captured(good)]);
    assert.deepEqual(summary(verdict), ['pending', 'identity_unproven']);
  });
});

describe('a boot that must not be', () => {
  it('is untrusted where its reference was revoked, even beside an active one', () => {
    const references = [captured(good), captured(good, { name: 'old', state: 'revoked' })];
    assert.deepEqual(summary(judged(good, references)), ['untrusted', 'revoked_reference']);
  });

  it('is untrusted where its log does not replay, although the PCRs match', () => {
    const proven = madeProof({ log: tamper(log, 'cmdline'), values: replayedValues(log, 'sha256') });
    const verdict = judged(proven, [captured(good)]);
    assert.equal(verdict.state, 'untrusted');
    assert.deepEqual(verdict.reasons.map(({ aspect, severity, source }) => [aspect, severity, source])[0], [
      'boot',
      'fail',
      'tpm',
    ]);
  });
});

describe('the built-in policies', () => {
  it('observe never asks for more than identity', () => {
    assert.deepEqual(summary(judged(good, [], observePolicy)), ['trusted', 'no_reference']);
  });
  it('strict trusts what its references and rules know and nothing else', () => {
    const reference = captured(good, { group: 'default' });
    const trusted = judged(good, [reference], strictPolicy);
    const required = builtAspects.filter((name) => name !== 'runtime');
    const others = required.slice(2);
    assert.deepEqual(trusted.require, required);
    assert.deepEqual(
      [trusted.aspects.identity?.status, trusted.aspects.boot?.status],
      ['affirming', 'affirming'],
    );
    // This machine shows a boot and nothing else: what else is required is missing, and never green.
    assert.equal(trusted.state, others.length === 0 ? 'trusted' : 'pending');
    for (const aspect of others) assert.notEqual(trusted.aspects[aspect]?.status, 'affirming');
    assert.equal(
      judged(madeProof({ log: tamper(log, 'kernel') }), [reference], strictPolicy).state,
      'untrusted',
    );
    assert.equal(judged(good, [], strictPolicy).state, 'pending');
  });
});

describe('an appraiser that remembers', () => {
  const references = [captured(good, { expires: '2026-11-25T13:00:00Z' })];
  const expires = Date.parse('2026-11-25T13:00:00Z');
  const node = { name: 'worker-1' };

  it('answers as one that does not', () => {
    const remembering = verdictsBy(required, references);
    const proofs = [
      good,
      madeProof({ log, ekDigest: null }),
      madeProof({ values: replayedValues(log, 'sha256') }),
      madeProof({ log: tamper(log, 'kernel') }),
      madeProof({ log: tamper(log, 'kernel'), values: replayedValues(log, 'sha256') }),
    ];
    for (const proven of [...proofs, ...proofs, ...proofs.toReversed()])
      for (const time of [at, expires, at])
        assert.deepEqual(
          remembering(proven, node, time),
          verdictOn(proven, required, node, references, time),
        );
  });

  it('forgets when a reference expires', () => {
    const remembering = verdictsBy(required, references);
    assert.equal(remembering(good, node, expires - 1).state, 'trusted');
    assert.equal(remembering(good, node, expires).state, 'pending');
    assert.equal(remembering(good, node, expires - 1).state, 'trusted');
  });
});
