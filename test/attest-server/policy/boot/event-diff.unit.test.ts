import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { firstDifference } from '../../../../attest-server/policy/boot/event-diff.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { event, header } from '../../verify/tpm/log-builder.ts';

const pcrs = [0, 2, 4, 6, 7, 8, 9, 14];
const eventsOf = (log: Buffer) => parseEventLog(log).events;
const recorded = (name: string) => eventsOf(recordedLog(name));
const between = (reference: string, actual: string) =>
  firstDifference(recorded(reference), recorded(actual), pcrs, 'sha256');

const ipl = 13;
const grub = (pcr: number, text: string) => event(pcr, ipl, Buffer.from(text), ['sha256']);
const boot = (...events: readonly Buffer[]) => eventsOf(Buffer.concat([header(['sha256']), ...events]));

describe('the first difference between two boots', () => {
  const pairs = [
    ['debian13-shim-grub', 'debian13-shim-grub-kernel', 'kernel', 9],
    ['debian13-shim-grub', 'debian13-shim-grub-cmdline', 'cmdline', 8],
    ['debian13-sdboot-uki', 'debian13-sdboot-uki-cmdline', 'cmdline', 9],
  ] as const;
  for (const [reference, actual, stage, pcr] of pairs) {
    it(`of ${actual} is the ${stage}`, () => {
      const difference = between(reference, actual);
      assert.deepEqual([difference?.stage, difference?.pcr], [stage, pcr]);
      assert.ok(difference?.expected && difference.actual);
    });
    it(`of ${actual} is the ${stage} also the other way round`, () =>
      assert.equal(between(actual, reference)?.stage, stage));
  }

  it('is none between equal boots', () =>
    assert.equal(between('debian13-shim-grub', 'debian13-shim-grub'), null));

  it('is the inserted line of the loader, not what follows it', () => {
    const reference = boot(grub(8, 'grub_cmd: set timeout=0'), grub(8, 'grub_cmd: linux /vmlinuz ro'));
    const actual = boot(
      grub(8, 'grub_cmd: set timeout=0'),
      grub(8, 'grub_cmd: insmod evil'),
      grub(8, 'grub_cmd: linux /vmlinuz ro'),
    );
    const difference = firstDifference(reference, actual, pcrs, 'sha256');
    assert.deepEqual([difference?.stage, difference?.index, difference?.expected], ['loader', 2, null]);
  });

  it('is an event that is missing', () => {
    const reference = boot(grub(14, 'MokList'), grub(14, 'MokListX'));
    const difference = firstDifference(reference, boot(grub(14, 'MokList')), pcrs, 'sha256');
    assert.deepEqual([difference?.stage, difference?.actual], ['secureboot', null]);
  });

  it('is where the order parts, if the events are the same', () => {
    const [a, b] = [grub(14, 'MokList'), grub(14, 'MokListX')];
    assert.equal(firstDifference(boot(a, b), boot(b, a), pcrs, 'sha256')?.index, 1);
  });

  it('is the kernel where a command line differs in the name of the image alone', () => {
    const of = (version: string, words: string) =>
      boot(grub(8, `grub_cmd: linux /vmlinuz-${version} ${words}`), grub(9, `/vmlinuz-${version}`));
    assert.equal(firstDifference(of('1', 'ro'), of('2', 'ro'), pcrs, 'sha256')?.stage, 'kernel');
    assert.equal(
      firstDifference(of('1', 'ro'), of('2', 'ro init=/bin/sh'), pcrs, 'sha256')?.stage,
      'cmdline',
    );
  });
});
