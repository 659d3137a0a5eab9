import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { CaptureError, captureReference } from '../../../../attest-server/policy/boot/capture.ts';
import { diffReferences } from '../../../../attest-server/policy/reference-diff.ts';
import { reference } from '../../../../attest-server/protocol/reference.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { madeProof, replayedValues } from '../made-proof.ts';

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

  it('holds the compared PCRs as quoted, and their events alone', () => {
    assert.deepEqual(Object.keys(made.pcrs.sha256 ?? {}), ['0', '2', '4', '6', '7', '8', '9']);
    assert.equal(
      made.pcrs.sha256?.['4'],
      replayedValues(log, 'sha256')
        .subarray(4 * 32, 5 * 32)
        .toString('hex'),
    );
    assert.ok(made.events.length > 0);
    assert.ok(
      made.events.every(({ pcr, type }) => [0, 2, 4, 6, 7, 8, 9].includes(pcr) && type !== 'EV_NO_ACTION'),
    );
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

  it('is the PCRs and the events that differ', () => {
    const { pcrs, events } = diffReferences(before, captureReference(proven, taken));
    assert.deepEqual(
      pcrs.map(({ bank, pcr }) => `${bank} ${pcr}`),
      ['sha256 4', 'sha256 9'],
    );
    assert.ok(events.length > 0 && events.every(({ stage }) => stage === 'kernel'));
  });

  it('is the same to a proven boot', () =>
    assert.deepEqual(
      diffReferences(before, proven),
      diffReferences(before, captureReference(proven, taken)),
    ));

  it('is nothing to itself', () =>
    assert.deepEqual(diffReferences(before, before), { pcrs: [], events: [] }));
});
