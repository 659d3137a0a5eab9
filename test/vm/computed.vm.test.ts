import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import type { Bundle } from '../../attest-server/formats/bundle.ts';
import type { Reference } from '../../attest-server/formats/reference.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { verifyBundleEvidence } from '../../attest-server/verify/bundle-evidence.ts';
import { parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { computedReference } from '../attest-server/cli/offline/compute/computed-reference.ts';
import { capturedFrom } from '../attest-server/policy/made-proof.ts';
import { kernelWords, shown } from './boots.ts';
import { debianKernel } from './debian-kernel.ts';
import { makeMachine } from './guest.ts';
import { type Files, guestArchive, guestInitrd } from './guest-image.ts';

const policy = parsePolicy(
  `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["worker-*"]
    require: [boot]
`,
  'policy.yaml',
);

interface Loader {
  readonly image: Buffer;
  readonly via: readonly string[];
  readonly configuration: (version: string) => Files;
}

describe('a reference that was computed of the files of a machine', () => {
  it('is what GRUB and systemd-boot measured of them, and covers the next initrd beside one capture', async function () {
    this.timeout(0);
    await using programs = await debianKernel();
    await using machine = await makeMachine();
    const { image: kernel, version, grub, loader } = programs;
    const first = await guestInitrd(null);
    const next = Buffer.concat([first, guestArchive({ 'etc/next': 'another initrd' })]);
    const loaders: Readonly<Record<string, Loader>> = {
      grub: {
        image: grub,
        via: ['--via', 'grub', '--no-secure-boot'],
        configuration: (of) => ({
          'EFI/debian/grub.cfg': `set timeout=0\nlinux /vmlinuz-${of} ${kernelWords}\ninitrd /initrd.img-${of}\nboot\n`,
        }),
      },
      'systemd-boot': {
        image: loader,
        via: ['--via', 'systemd-boot'],
        configuration: (of) => ({
          'loader/loader.conf': 'timeout 0\n',
          'loader/entries/linux.conf': `title Linux\nlinux /vmlinuz-${of}\ninitrd /initrd.img-${of}\noptions ${kernelWords}\n`,
        }),
      },
    };
    for (const [name, { image, via, configuration }] of Object.entries(loaders)) {
      const disk = (initrd: Buffer): Files => ({
        'EFI/BOOT/BOOTX64.EFI': image,
        ...configuration(version),
        [`vmlinuz-${version}`]: kernel,
        [`initrd.img-${version}`]: initrd,
      });
      const before = await shown(machine.boot(disk(first)), null);
      const after = await shown(machine.boot(disk(next)), null);
      const computed = await computedReference(
        [
          ['--loader', 'loader.efi', image],
          ['--kernel', `vmlinuz-${version}`, kernel],
          ['--initrd', `initrd.img-${version}`, next],
        ],
        ...via,
      );
      const missing = computed.components.filter((one) => !isMeasured(after.log, one));
      assert.deepEqual(missing, [], `${name} measured something else`);
      assert.ok(computed.components.some((one) => one.stage === 'initrd' && !isMeasured(before.log, one)));
      const captured = capturedFrom(verifyBundleEvidence(before.bundle, null), {
        name: 'captured',
        node: 'worker-1',
      });
      assert.equal(judged(before.bundle, [captured]), 'trusted');
      assert.equal(judged(after.bundle, [captured]), 'untrusted initrd_unknown');
      assert.equal(judged(after.bundle, [captured, computed]), 'trusted');
    }
  });
});

function isMeasured(log: Buffer, { pcr, digests }: Reference['components'][number]): boolean {
  return parseEventLog(log).events.some(
    (event) => event.pcr === pcr && event.digests.sha256 === digests.sha256,
  );
}

function judged(bundle: Bundle, references: readonly Reference[]): string {
  const { verdict } = verifyBundle(JSON.stringify(bundle), { policy, references, now: 1 });
  const codes = verdict.reasons.flatMap(({ code, severity }) => (severity === 'fail' ? code : []));
  return [verdict.state, ...codes].join(' ');
}
