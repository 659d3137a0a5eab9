import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import {
  dataOf,
  edited,
  eventsWhere,
  insertBefore,
  remeasured,
  reordered,
  without,
} from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const newer = recordedLog('debian13-shim-grub-kernel');
const unified = recordedLog('debian13-sdboot-uki');
const captured = (from: Buffer) => capturedFrom(madeProof({ log: from }));

function judged(from: Buffer, references: readonly Reference[], boot = '{}'): string {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  const { state, reasons } = verdictOn(madeProof({ log: from }), policy, { name: 'n' }, references, 0);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

type Event = ReturnType<typeof parseEventLog>['events'][number];

/** What this holds for stands first, right behind the separators. */
function first(from: Buffer, holds: (event: Event) => boolean): Buffer {
  const { events } = parseEventLog(from);
  const start = events.findLastIndex(({ type }) => type === 'EV_SEPARATOR') + 1;
  const of = (wanted: boolean) => events.filter((event, at) => at >= start && holds(event) === wanted);
  return reordered(
    from,
    [...events.slice(0, start), ...of(true), ...of(false)].map(({ index }) => index),
  );
}

const isKernelImage = ({ pcr, stage }: Event) => pcr === 4 && stage === 'kernel';
const isOfStub = ({ pcr, type }: Event) => pcr === 9 && type === 'EV_EVENT_TAG';

/** As it is computed of files: of these stages, in no order. */
function onlyOf(from: Buffer, ...stages: readonly string[]): Reference {
  const all = captured(from);
  const components = all.components.filter(({ stage }) => stages.includes(stage)).toReversed();
  return { ...all, name: 'computed', events: [], components };
}

describe('the order of what was measured (row 136)', () => {
  for (const [name, from] of [['GRUB', log] as const, ['systemd-boot', unified] as const])
    it(`of a kernel and its loader in PCR 4 counts, with ${name}`, () => {
      assert.equal(judged(from, [captured(from)]), 'trusted');
      assert.equal(judged(first(from, isKernelImage), [captured(from)]), 'untrusted pcr_mismatch');
    });

  it('of what the stub of a kernel measures in PCR 9 counts', () =>
    assert.equal(judged(first(log, isOfStub), [captured(log)]), 'untrusted pcr_mismatch'));

  it('of two images of one loader counts', () => {
    const isGrub = ({ describes }: Event) => describes.endsWith('grubx64.efi');
    assert.equal(judged(first(log, isGrub), [captured(log)]), 'untrusted pcr_mismatch');
  });

  it('of the sections of a unified image counts', () => {
    const isSection = ({ pcr, stage }: Event) => pcr === 11 && stage === 'initrd';
    assert.match(judged(first(unified, isSection), [captured(unified)]), /^untrusted/);
  });

  it('counts where one reference covers the loader and another one the kernel, in whatever order they are written', () => {
    const kernel = onlyOf(newer, 'kernel', 'initrd', 'cmdline');
    assert.equal(judged(newer, [captured(log), kernel]), 'trusted');
    // A kernel that the firmware starts has a path, by which the log shows it to be one.
    const path = dataOf(
      unified,
      eventsWhere(unified, ({ describes }) => describes.includes('Linux\\'))[0]?.index ?? 0,
    );
    const early = first(newer, isKernelImage);
    const [image] = eventsWhere(early, ({ pcr, type }) => pcr === 4 && type.endsWith('APPLICATION'));
    assert.ok(image);
    const withPath = edited(early, image.index, path);
    for (const from of [withPath, first(newer, isOfStub)])
      assert.equal(judged(from, [captured(log), kernel]), 'untrusted pcr_mismatch');
    assert.equal(judged(early, [captured(log), kernel]), 'untrusted bootloader_unknown');
  });

  it('counts under every scope that compares the stage', () => {
    const scope = '{scope: {firmware: unpinned, initrd: node, loader: node}}';
    assert.equal(judged(first(log, isKernelImage), [captured(log)], scope), 'untrusted pcr_mismatch');
  });

  it('is that of the reference, also of a machine whose first try to start a kernel failed', () => {
    const tried = first(log, isKernelImage);
    assert.equal(judged(tried, [captured(tried)]), 'trusted');
    assert.equal(judged(log, [captured(tried)]), 'untrusted pcr_mismatch');
  });

  it('begins anew for the loader of the next boot option, so that a new kernel is one like elsewhere', () => {
    const twice = recordedLog('amd-second-attempt');
    const start = eventsWhere(twice, ({ pcr, type }) => pcr === 4 && type === 'EV_SEPARATOR').at(-1)!.index;
    const early = eventsWhere(
      twice,
      ({ stage, index }) => index < start && (stage === 'kernel' || stage === 'initrd'),
    );
    const failed = without(
      twice,
      early.map(({ index }) => index),
    );
    const next = eventsWhere(failed, ({ stage }) => stage === 'kernel').reduce(
      (from, { index, pcr }) => remeasured(from, index, dataOf(from, index), Buffer.from(`new ${pcr}`)),
      failed,
    );
    assert.equal(eventsWhere(failed, isKernelImage).length, 1);
    assert.equal(judged(next, [captured(failed), onlyOf(next, 'kernel')]), 'trusted');
    assert.equal(judged(next, [captured(failed)]), 'untrusted kernel_unknown');
  });

  it('is that of each PCR: between two of them a log may tell any', () => {
    const isLoaded = ({ pcr, index }: Event) => pcr === 4 && index > 0;
    assert.equal(judged(first(log, isLoaded), [captured(log)]), 'trusted');
  });

  it('is not changed by what comes once more, nor by the menu or by identifiers', () => {
    const [set] = eventsWhere(log, ({ describes }) => describes === 'grub_cmd: set timeout=0');
    const [boot] = eventsWhere(log, ({ describes }) => describes === 'grub_cmd: boot');
    assert.ok(set && boot);
    const again = { pcr: 8, type: 13, data: Buffer.from('grub_cmd: set timeout=0\0') };
    const measured = Buffer.from('set timeout=0');
    assert.equal(judged(insertBefore(log, boot.index, { ...again, measured }), [captured(log)]), 'trusted');
    const menu = first(log, ({ index }) => index === set.index);
    assert.equal(judged(menu, [captured(log)]), 'trusted');
    const sibling = siblingLog(recordedLog('centos9-shim-grub'), {
      text: (text) => text.replace(/[0-9a-f]{8}-[0-9a-f]{4}/g, '0a0b0c0d-0e0f'),
      configuration: true,
    });
    assert.equal(judged(sibling, [captured(recordedLog('centos9-shim-grub'))]), 'trusted');
  });
});
