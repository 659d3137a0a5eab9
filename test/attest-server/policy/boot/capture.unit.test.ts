import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { reference } from '../../../../attest-server/formats/reference.ts';
import { captureReference } from '../../../../attest-server/policy/boot/capture.ts';
import { CaptureError } from '../../../../attest-server/policy/capture-error.ts';
import { diffReferences } from '../../../../attest-server/policy/reference-diff.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { byValues, madeProof, replayedValues } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const taken = {
  name: 'workers-2026-11',
  group: 'workers',
  state: 'active',
  by: 'token:admin',
  node: 'node-1',
  at: 1_764_072_000_000,
} as const;

describe('a captured reference', () => {
  const made = captureReference(madeProof({ log }), taken);

  it('is a reference file', () => assert.deepEqual(reference.parse(JSON.parse(JSON.stringify(made))), made));

  it('holds what was measured, and no value that a sibling could not have', () => {
    assert.deepEqual(made.pcrs, {});
    const pcrs = new Set(made.components.map(({ pcr }) => pcr));
    assert.deepEqual([...pcrs].sort(), [0, 1, 14, 4, 5, 7, 8, 9]);
    assert.ok(made.components.every(({ digests }) => digests.sha256?.length === 64));
    assert.ok(made.events.length > made.components.length);
  });

  it('holds texts without the identifiers of its node', () => {
    const centos = captureReference(madeProof({ log: recordedLog('centos9-shim-grub') }), taken);
    const texts = centos.components.flatMap(({ text }) => text ?? []);
    assert.ok(texts.some((text) => text.includes('--fs-uuid --set=dev <id>')));
    assert.ok(texts.some((text) => text.includes('--set=boot <id>')));
    assert.ok(!texts.some((text) => /[0-9a-f]{8}-[0-9a-f]{4}-/.test(text)));
  });

  const refused = [
    ['without a log', madeProof({ values: replayedValues(log, 'sha256') })],
    [
      'whose log does not replay',
      madeProof({ log: tamper(log, 'kernel'), values: replayedValues(log, 'sha256') }),
    ],
    ['with a compared PCR not quoted', madeProof({ log, mask: 0xffff7f })],
  ] as const;
  for (const [what, proven] of refused)
    it(`is not made of a boot ${what}`, () =>
      assert.throws(() => captureReference(proven, taken), CaptureError));
});

describe('the difference of two references', () => {
  const before = captureReference(madeProof({ log }), taken);
  const proven = madeProof({ log: tamper(log, 'kernel') });

  it('is the events that differ', () => {
    const { pcrs, events } = diffReferences(before, captureReference(proven, taken));
    assert.deepEqual(
      pcrs.map(({ bank, pcr }) => `${bank} ${pcr}`),
      [],
    );
    assert.ok(events.length > 0 && events.every(({ stage }) => stage === 'kernel'));
  });

  it('is the same to a proven boot', () =>
    assert.deepEqual(
      diffReferences(before, proven),
      diffReferences(before, captureReference(proven, taken)),
    ));

  it('is the PCRs and their events, where both name values', () => {
    const valued = [before, captureReference(proven, taken)].map((one, i) =>
      byValues(one, i === 0 ? log : tamper(log, 'kernel')),
    );
    const { pcrs, events } = diffReferences(valued[0]!, valued[1]!);
    assert.deepEqual(
      pcrs.map(({ bank, pcr }) => `${bank} ${pcr}`),
      ['sha256 4', 'sha256 9'],
    );
    assert.ok(events.length > 0);
  });

  it('is nothing to itself', () =>
    assert.deepEqual(diffReferences(before, before), { pcrs: [], events: [] }));
});
