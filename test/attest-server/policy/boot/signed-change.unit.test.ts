import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import type { LogEvent } from '../../../../attest-server/verify/tpm/event-log.ts';
import { isSigned, type Verdict } from '../../../../attest-server/wire/verdict.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import {
  dataOf,
  eventsWhere,
  eventWhere,
  insertBefore,
  remeasured,
  without,
  withValue,
} from '../../../vectors/log-surgery.ts';
import { byValues, capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const unified = recordedLog('debian13-sdboot-uki');
const microsoft = '"*CN=Microsoft *"';
const debian = '"CN=Debian Secure Boot CA"';

function judged(from: Buffer, boot: string, references = [capturedFrom(madeProof({ log }))]): Verdict {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  return verdictOn(madeProof({ log: from }), policy, { name: 'n' }, references, at);
}

const indexOf = (holds: (event: LogEvent) => boolean, from = log) => eventWhere(from, holds).index;
const grub = indexOf(({ describes }) => describes.endsWith('grubx64.efi'));
const kernelFile = indexOf(({ pcr, stage }) => pcr === 9 && stage === 'kernel');
const kernelImage = indexOf(({ pcr, stage }) => pcr === 4 && stage === 'kernel');
const initrdCommand = indexOf(({ describes }) => describes === 'grub_cmd: initrd /initrd.img');
const loadOptions = indexOf(({ describes }) => describes === 'LOADED_IMAGE::LoadOptions');
const ownerAuthority = indexOf(({ describes }) => describes.startsWith('MokListRT'));

/** The same unified image, started by firmware that checks it. */
const signedUnified = (() => {
  const on = indexOf(({ describes }) => /^SecureBoot\b/.test(describes), unified);
  const separator = indexOf(({ pcr, type }) => pcr === 7 && type === 'EV_SEPARATOR', unified);
  const switchedOn = remeasured(
    unified,
    on,
    withValue(dataOf(unified, on), () => Buffer.of(1)),
  );
  return insertBefore(switchedOn, separator + 1, {
    pcr: 7,
    type: 0x8000_00e0,
    data: dataOf(
      log,
      indexOf(({ describes }) => describes.startsWith('db: C=')),
    ),
  });
})();

/** Another content of what an event measures, which nobody knows. */
const changed = (from: Buffer, index: number, what: string) =>
  remeasured(from, index, dataOf(from, index), Buffer.from(`another ${what}`));
const newKernel = tamper(log, 'kernel');
/** The loader starts one more image, which is signed. */
const oneMoreImage = (from: Buffer) =>
  insertBefore(from, kernelImage + 1, {
    pcr: 4,
    type: 0x8000_0003,
    data: dataOf(log, grub),
    measured: Buffer.from('an old tool'),
  });
/** An initrd beside the known one, that the log calls a kernel. */
const evilInitrd = (from: Buffer) =>
  insertBefore(from, initrdCommand + 1, {
    pcr: 9,
    type: 13,
    data: Buffer.from('/vmlinuz-other\0'),
    measured: Buffer.from('an evil initrd'),
  });

describe('a change of a boot', () => {
  const table: readonly (readonly [string, Buffer, string, boolean, string])[] = [
    ['is signed: another loader', changed(log, grub, 'GRUB'), '{}', true, 'bootloader_unknown'],
    [
      'is signed: another image of the kernel',
      changed(log, kernelImage, 'kernel'),
      '{}',
      true,
      'kernel_unknown',
    ],
    [
      'is signed: another kernel, where policy takes any initrd',
      newKernel,
      '{scope: {initrd: unpinned}}',
      true,
      'kernel_unknown',
    ],
    [
      'is signed: the same with the initrd that belongs to it',
      siblingLog(newKernel, { initrd: true }),
      '{scope: {initrd: unpinned}}',
      true,
      'kernel_unknown',
    ],
    [
      'is signed: the same by signers that the policy names',
      newKernel,
      `{signers: [${microsoft}, ${debian}], scope: {initrd: unpinned}}`,
      true,
      'kernel_unknown',
    ],
    [
      'is not signed: a file that a loader read',
      changed(log, kernelFile, 'kernel'),
      '{}',
      false,
      'kernel_unknown',
    ],
    ['is not signed: a kernel that may be an initrd', newKernel, '{}', false, 'kernel_unknown'],
    [
      'is not signed: a kernel with another initrd',
      siblingLog(newKernel, { initrd: true }),
      '{}',
      false,
      'kernel_unknown',
    ],
    ['is not signed: an initrd', siblingLog(log, { initrd: true }), '{}', false, 'initrd_unknown'],
    [
      'is not signed: an initrd that the log calls a kernel, beside an image that is',
      oneMoreImage(evilInitrd(log)),
      '{}',
      false,
      'kernel_unknown',
    ],
    [
      'is not signed: more files that are called kernels than images',
      evilInitrd(newKernel),
      '{scope: {initrd: unpinned}}',
      false,
      'kernel_unknown',
    ],
    [
      'is not signed: what a loader was told to do',
      siblingLog(log, { text: (text) => text.replace('set timeout', 'set superusers') }),
      '{}',
      false,
      'bootloader_unknown',
    ],
    [
      'is not signed: a kernel with another command line',
      tamper(newKernel, 'cmdline'),
      '{scope: {initrd: unpinned}}',
      false,
      'kernel_unknown',
    ],
    [
      'is not signed: by an authority that policy does not name',
      newKernel,
      `{signers: [${microsoft}], scope: {initrd: unpinned}}`,
      false,
      'kernel_unknown',
    ],
    [
      'is not signed: by an authority that no reference has',
      changed(newKernel, ownerAuthority, 'authority'),
      '{scope: {initrd: unpinned}}',
      false,
      'secureboot_policy',
    ],
    [
      'is not signed: with Secure Boot switched off',
      tamper(newKernel, 'secureboot'),
      '{scope: {initrd: unpinned}}',
      false,
      'secureboot_off',
    ],
    [
      'is not signed: an initrd that the log calls load options, beside an image that is',
      insertBefore(changed(log, kernelImage, 'kernel'), initrdCommand + 1, {
        pcr: 9,
        type: 6,
        data: dataOf(log, loadOptions),
        measured: Buffer.from('an evil initrd'),
      }),
      '{}',
      false,
      'kernel_unknown',
    ],
    [
      'is not signed: with a command line of an add-on',
      insertBefore(newKernel, initrdCommand, {
        pcr: 12,
        type: 13,
        data: Buffer.from('an add-on'),
      }),
      '{scope: {initrd: unpinned}}',
      false,
      'kernel_unknown',
    ],
  ];
  for (const [what, from, boot, isVouchedFor, code] of table)
    it(what, () => {
      const { state, reasons } = judged(from, boot);
      assert.equal(state, 'untrusted');
      assert.ok(
        reasons.some((reason) => reason.code === code && reason.severity === 'fail'),
        reasons.map((reason) => reason.code).join(' '),
      );
      assert.equal(isSigned(reasons), isVouchedFor);
    });

  it('is not signed where Secure Boot was off when the reference was captured, too', () => {
    const reference = capturedFrom(madeProof({ log: unified }));
    const { reasons } = judged(tamper(unified, 'kernel'), '{}', [reference]);
    assert.deepEqual([reasons[0]?.code, isSigned(reasons)], ['kernel_unknown', false]);
  });

  it('is signed in a unified image, whatever of its sections changed, and not where an add-on comes with it', () => {
    const reference = capturedFrom(madeProof({ log: signedUnified }));
    const kernel = tamper(signedUnified, 'kernel');
    const initrd =
      eventsWhere(kernel, ({ pcr, stage }) => pcr === 11 && stage === 'initrd').at(-1)?.index ?? 0;
    const addOn = { pcr: 12, type: 13, data: Buffer.from('an add-on') };
    for (const [from, isVouchedFor] of [
      [kernel, true],
      [changed(kernel, initrd, 'initrd'), true],
      [changed(signedUnified, initrd, 'initrd'), false],
      [insertBefore(kernel, initrd + 1, addOn), false],
    ] as const) {
      const { state, reasons } = judged(from, '{}', [reference]);
      assert.deepEqual([state, isSigned(reasons)], ['untrusted', isVouchedFor]);
    }
  });

  it('is not signed where no authority was measured, though Secure Boot is on', () => {
    const bare = (from: Buffer) =>
      without(from, [
        ownerAuthority,
        indexOf(({ describes }) => describes.startsWith('db: C=')),
        indexOf(({ describes }) => describes.startsWith('SbatLevel')),
      ]);
    const reference = capturedFrom(madeProof({ log: bare(log) }));
    const { reasons } = judged(bare(newKernel), '{scope: {initrd: unpinned}}', [reference]);
    assert.deepEqual([reasons[0]?.code, isSigned(reasons)], ['kernel_unknown', false]);
  });

  it('is not signed where a reference knows values of PCRs alone', () => {
    const reference: Reference = byValues(capturedFrom(madeProof({ log })), log);
    const { reasons } = judged(changed(log, grub, 'GRUB'), '{}', [reference]);
    assert.deepEqual([reasons[0]?.code, isSigned(reasons)], ['bootloader_unknown', false]);
  });
});
