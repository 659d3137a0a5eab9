import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import {
  dataOf,
  edited,
  eventsWhere,
  eventWhere,
  remeasured,
  reordered,
  retyped,
} from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

const started = recordedLog('debian13-efistub');
const options = eventWhere(started, ({ pcr, stage }) => pcr === 9 && stage === 'cmdline').index;
/** The kernel's stub measures its line into PCR 9, and nobody else has its text. */
const booted = (line: string) =>
  remeasured(started, options, dataOf(started, options), Buffer.from(`${line}\0`, 'utf16le'));
const honest = booted('root=/dev/vda ro');
const other = booted('root=/dev/vda rw init=/bin/sh');
const asInitrd = edited(other, options, Buffer.from('ec223b8f0400000061616161', 'hex'));
const asFile = retyped(other, options, 1);

const captured = capturedFrom(madeProof({ log: honest }));
/** As somebody computes it of firmware, kernel and initrd: no word of a line. */
const computed: Reference = {
  ...captured,
  events: [],
  components: captured.components.filter(({ stage }) => stage !== 'cmdline'),
};

function judged(log: Buffer, reference: Reference, rules: string): string {
  const values = replayedValues(log, 'sha256');
  const policy = policyOf('require: [identity, boot]', `boot: {${rules}}`);
  const { state, reasons } = verdictOn(madeProof({ log, values }), policy, { name: 'n' }, [reference], 0);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

describe('a kernel with a command line that the log calls something else (row 220)', () => {
  for (const [open, log] of [
    ['initrd', asInitrd],
    ['loader', asFile],
  ] as const)
    for (const rules of [
      `scope: {${open}: unpinned}`,
      `scope: {${open}: unpinned}, cmdline: {forbid: ["init=*"]}`,
    ])
      it(`is not known where no reference has a line: ${rules}`, () => {
        assert.match(judged(other, computed, rules), /^pending no_reference/);
        assert.match(judged(log, computed, rules), /^pending no_reference/);
        assert.match(judged(log, captured, rules), /^untrusted /);
      });

  it('is trusted where a reference has it, or was captured of a boot without one', () => {
    assert.equal(judged(honest, captured, ''), 'trusted');
    const line = recordedLog('rhel8-shim-grub');
    assert.equal(judged(line, capturedFrom(madeProof({ log: line })), ''), 'trusted');
    const without = recordedLog('gce-sp800-155');
    assert.equal(judged(without, capturedFrom(madeProof({ log: without })), ''), 'trusted');
  });
});

describe('a section of a unified image (row 223)', () => {
  const unified = recordedLog('debian13-sdboot-uki');
  const whole = capturedFrom(madeProof({ log: unified }));
  const part = (name: string, holds: (one: Reference['components'][number]) => boolean): Reference => ({
    ...whole,
    name,
    events: [],
    components: whole.components.filter(holds),
  });
  const isOfImage = ({ stage, pcr }: Reference['components'][number]) =>
    pcr === 11 || ['kernel', 'initrd', 'cmdline'].includes(stage);
  const parts = [part('image', isOfImage), part('rest', (one) => !isOfImage(one))];
  const state = (from: Buffer) => {
    const policy = policyOf('require: [identity, boot]');
    return verdictOn(madeProof({ log: from }), policy, { name: 'n' }, parts, 0).state;
  };

  it('is compared by who has sections, whatever the log calls it', () => {
    assert.equal(state(unified), 'trusted');
    const [section] = eventsWhere(unified, ({ pcr }) => pcr === 11);
    assert.ok(section);
    const other = remeasured(unified, section.index, dataOf(unified, section.index), Buffer.from('other'));
    for (const type of [0x0d, 0x01, 0x80000001, 0x800000e0, 0x80000004])
      assert.equal(state(retyped(other, section.index, type)), 'untrusted');
  });
});

describe('a switch of Secure Boot behind the settings (row 224)', () => {
  it('is none: who extends what the reference has, where the firmware measured nothing, is told', () => {
    const log = recordedLog('debian13-shim-grub');
    const { index } = eventWhere(log, ({ describes }) => describes === 'SecureBoot = 01');
    const end = eventsWhere(log, ({ pcr }) => pcr === 7).at(-1)!.index;
    const all = eventsWhere(log, (event) => event.index !== index).map((event) => event.index);
    const late = reordered(log, all.toSpliced(end, 0, index));
    const reference = capturedFrom(madeProof({ log }));
    assert.equal(judged(log, reference, ''), 'trusted');
    assert.match(judged(late, reference, ''), /^untrusted unverified_event/);
    assert.match(judged(retyped(late, end, 0x800000e0), reference, ''), /^untrusted unverified_event/);
  });
});
