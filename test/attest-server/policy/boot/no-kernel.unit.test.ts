import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { captureTogether } from '../../../../attest-server/policy/boot/capture-together.ts';
import { CaptureError } from '../../../../attest-server/policy/capture-error.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import {
  dataOf,
  edited,
  eventsWhere,
  eventWhere,
  insertBefore,
  withoutKernel,
} from '../../../vectors/log-surgery.ts';
import { byValues, capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const none = withoutKernel(log);

function judged(from: Buffer, references: readonly Reference[], boot = '{}'): string {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  const { state, aspects, reasons } = verdictOn(
    madeProof({ log: from }),
    policy,
    { name: 'n' },
    references,
    0,
  );
  assert.notEqual(aspects.boot?.status, 'affirming');
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

describe('a boot of which no kernel was measured (row 135)', () => {
  const reference = capturedFrom(madeProof({ log: none }));

  it('is trusted by no reference, also of a boot like it', () => {
    assert.equal(judged(none, [reference]), 'untrusted kernel_unknown');
    assert.equal(judged(none, [byValues(reference, none)]), 'untrusted kernel_unknown');
    assert.equal(judged(none, [capturedFrom(madeProof({ log }))]), 'untrusted kernel_unknown');
  });

  it('is so under every scope, and without any reference', () => {
    const scope = '{scope: {firmware: unpinned, loader: unpinned, kernel: unpinned, initrd: unpinned}}';
    assert.match(judged(none, [reference], scope), /^untrusted kernel_unknown/);
    assert.equal(judged(none, []), 'untrusted kernel_unknown no_reference');
  });

  it('has none where the log calls something a kernel that nobody compares', () => {
    const table = eventsWhere(none, ({ pcr }) => pcr === 5)[0]?.index ?? 0;
    const said = { pcr: 5, type: 13, data: Buffer.from('/vmlinuz\0') };
    assert.equal(judged(insertBefore(none, table, said), [reference]), 'untrusted kernel_unknown');
    const named = { pcr: 3, type: 13, data: Buffer.from('/vmlinuz\0'), measured: Buffer.from('anything') };
    assert.equal(judged(insertBefore(none, table, named), [reference]), 'untrusted kernel_unknown');
  });

  it('has none where the log has a section of a unified image that is compared with nothing', () => {
    const { index } = eventWhere(none, ({ describes }) => describes === 'grub_cmd: boot');
    const section = { pcr: 11, type: 13, data: Buffer.from('.linux\0', 'utf16le') };
    const said = insertBefore(none, index, { ...section, measured: Buffer.from('anything') });
    const unified = capturedFrom(madeProof({ log: recordedLog('debian13-sdboot-uki') }), { name: 'unified' });
    for (const references of [[reference], [reference, unified]])
      assert.equal(judged(said, references), 'untrusted kernel_unknown');
  });

  it('has none where the log calls so what its reference has as a file or image of a loader', () => {
    const older = withoutKernel(recordedLog('debian10-shim-grub'));
    const known = capturedFrom(madeProof({ log: older }));
    const { index: file } = eventWhere(older, ({ describes }) => describes.endsWith('/fs.lst'));
    const named = edited(older, file, Buffer.from('(hd0,gpt3)/boot/vmlinuz\0'));
    const { index: image } = eventWhere(older, ({ describes }) => describes.endsWith('grubx64.efi'));
    const path = dataOf(older, image);
    path.write('vmlinuz', path.indexOf('grubx64', 0, 'utf16le'), 'utf16le');
    for (const from of [older, named, edited(older, image, path)])
      assert.equal(judged(from, [known]), 'untrusted kernel_unknown');
  });

  it('becomes no reference', () => {
    const group = policyOf('require: [identity, boot]').groups[0];
    assert.ok(group);
    const options = { name: 'r', state: 'active', by: 'me', at: 0 } as const;
    const capture = (from: Buffer) =>
      captureTogether([{ node: 'n', isDemanded: false, ...madeProof({ log: from }) }], group, options);
    assert.equal(capture(log).length, 1);
    assert.throws(() => capture(none), CaptureError);
  });
});
