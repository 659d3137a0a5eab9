import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { eventBytes, parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { headerBytes, madePe } from '../../../../swtpm-fixtures/made-pe.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { updatedLog } from '../../../../swtpm-fixtures/updated-boot.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { computedReference } from '../../cli/offline/compute/computed-reference.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

function judged(proof: Parameters<typeof verdictOn>[0], references: readonly Reference[], boot = '{}') {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  const { state, reasons } = verdictOn(proof, policy, { name: 'worker-2' }, references, 0);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

describe('Fedora CoreOS, as docs/references.md has it', () => {
  const old = '28f8e018c4312083b210ce13c9fdab9dcb7883a0200802dca4eeddc1030eb715';
  const next = 'a'.repeat(64);
  const version = '6.1.1-100.fc37.x86_64';
  const masks = '{masks: [ostree]}';
  const recorded = withMadeFiles(recordedLog('coreos36-shim-grub'));
  const before = capturedFrom(madeProof({ log: recorded }));
  const kernel = madePe(true, [{ at: headerBytes, content: Buffer.from(version) }], Buffer.alloc(0));
  const initrd = Buffer.from('the initramfs of the next release');
  const moved = (text: string) => text.replaceAll(old, next).replaceAll('boot.1/', 'boot.0/');
  const updated = siblingLog(
    updatedLog(recorded, { kernel, initrd, from: '5.18.13-200.fc36.x86_64', to: version }),
    { text: moved },
  );

  it('boots another list of the same deployment, and needs nothing but its mask', () => {
    const log = siblingLog(recorded, { text: (text) => text.replaceAll('boot.1/', 'boot.0/') });
    assert.equal(judged(madeProof({ log }), [before], masks), 'trusted');
    assert.equal(judged(madeProof({ log }), [before]), 'untrusted cmdline_policy');
  });

  it('boots the next kernel, which is computed of the image with its command line', async () => {
    const line = commandLineOf(updated);
    const kernelAlone = await computed(null);
    assert.equal(
      judged(madeProof({ log: updated }), [before, kernelAlone], masks),
      'untrusted cmdline_policy',
    );
    assert.equal(judged(madeProof({ log: updated }), [before, await computed(line)], masks), 'trusted');
  });

  it('is not excused by an announcement that names no reference, since its command line changes', async () => {
    const announced = {
      nodes: null,
      by: 'token:alice',
      at: new Date(0).toISOString(),
      until: new Date(1000).toISOString(),
      reason: 'roll-out',
    };
    const next: Reference = { ...(await computed(commandLineOf(updated))), state: 'staged', announced };
    const proof = madeProof({ log: updated });
    const any: Reference = { ...next, name: 'any', components: [] };
    assert.match(judged(proof, [before, any], masks), /^untrusted .*cmdline_policy/);
    assert.equal(judged(proof, [before, next], masks), 'trusted change_expected');
  });

  it('boots the next kernel, of which one machine was captured', () => {
    const after = capturedFrom(madeProof({ log: updated }), { name: 'next' });
    const machine = siblingLog(updated, { text: (text) => text.replaceAll('boot.0/', 'boot.1/') });
    assert.equal(judged(madeProof({ log: machine }), [after], masks), 'trusted');
  });

  function computed(line: string | null): Promise<Reference> {
    const folder = `usr/lib/modules/${version}`;
    return computedReference(
      [
        ['--kernel', `${folder}/vmlinuz`, kernel],
        ['--initrd', `${folder}/initramfs.img`, initrd],
      ],
      ...['--no-secure-boot', ...(line === null ? [] : ['--cmdline', line])],
    );
  }
});

/** As /proc/cmdline has it. */
function commandLineOf(log: Buffer): string {
  const parsed = parseEventLog(log);
  const event = parsed.events.find(({ describes }) => describes.startsWith('kernel_cmdline: '));
  assert(event !== undefined);
  const text = eventBytes(parsed, event.index).toString('utf8').replace(/\0$/, '');
  return text.replace(/^kernel_cmdline: /, 'BOOT_IMAGE=');
}

describe('Talos, as docs/references.md has it', () => {
  const log = recordedLog('debian13-sdboot-uki');

  /** Talos extends PCR 11 by the phases of its boot, and no log has them. */
  function inPhases(values: Buffer): Buffer {
    const extended = Buffer.from(values);
    const pcr = extended.subarray(11 * 32, 12 * 32);
    for (const phase of ['enter-initrd', 'leave-initrd', 'enter-machined', 'start-the-world'])
      hash('sha256', Buffer.concat([pcr, hash('sha256', phase, 'buffer')]), 'buffer').copy(pcr);
    return extended;
  }
  const talos = madeProof({ log, values: inPhases(replayedValues(log, 'sha256')) });

  it('is known by what PCRs 4 and 9 have of its image, whether that was captured there or is of the whole image', () => {
    assert.equal(judged(talos, [capturedFrom(talos)]), 'trusted');
    assert.equal(judged(talos, [capturedFrom(madeProof({ log }))]), 'trusted');
  });

  it('is unknown with another image', () => {
    const other = tamper(log, 'kernel');
    const proof = madeProof({ log: other, values: inPhases(replayedValues(other, 'sha256')) });
    assert.match(judged(proof, [capturedFrom(talos)]), /^untrusted .*kernel_unknown/);
  });
});
