import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { debianKernel, twoKernels } from './debian-kernel.ts';
import { type DebianMachine, debianMachine } from './debian-machine.ts';
import { type KeyMachine, packages } from './key-machine.ts';
import { diskAffirmed, type LeasingSite, leasingSite, node, vouching } from './leasing-site.ts';
import { sectionOf } from './typed-page.ts';

const beforehand = sectionOf('disk-keys', 'Before the reboot');
const [list = '', why = ''] = (beforehand.typed('you$')[0] ?? '').split('\n');
const look = beforehand.typed('node#')[0] ?? '';
const refusal = sectionOf('disk-keys', 'When a node gets no key').typed('you$')[0] ?? '';

/** As on a server that Debian's installer made: what grub-install leaves on its disk, and GRUB's own configuration. */
const useGrub = `set -e
mkdir -p /boot/efi /boot/grub
echo "UUID=$(findmnt -no UUID /) / ext4 defaults 0 0" >>/etc/fstab
echo '/dev/vda /boot/efi vfat umask=0077 0 0' >>/etc/fstab
cat >/etc/default/grub <<'END'
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_TERMINAL=console
GRUB_CMDLINE_LINUX="console=ttyS0 no_timer_check panic=-1"
END
grub-editenv /boot/grub/grubenv create
update-grub
`;

/** As an update of a site that builds kernel and initrd in one place ends. */
const install = `set -e
mount -o ro /dev/vde /mnt
cp /mnt/boot/vmlinuz-* /mnt/boot/initrd.img-* /boot/
cp -r /mnt/usr/lib/modules/. /usr/lib/modules/
umount /mnt
update-grub`;

/** Each test goes on where the one before it ended. */
describe('a kernel that nobody approved, on a machine with a leased disk that GRUB starts', function () {
  this.timeout(0);
  const resources = new AsyncDisposableStack();
  let site: LeasingSite;
  let machine: KeyMachine;
  let next: DebianMachine;
  let version: string;
  let uuid: string;
  /** Of what `assay why` printed before the reboot. */
  let typed: readonly string[];
  before(async () => {
    const [newest, earlier] = await twoKernels();
    version = newest.replace('linux-image-', '');
    const debian = await debianMachine(
      'keys-grub',
      [...packages, 'grub2-common', 'grub-efi-amd64-signed'],
      earlier,
    );
    next = await debianMachine('keys-next', packages, newest);
    site = await leasingSite({ debian, disks: [await imageOf(next)], prepare: startByGrub });
    resources.use(site);
    ({ machine } = site);
  });
  after(() => resources.disposeAsync());

  /** A copy of its disk with another label, by which the machine does not take it for its own. */
  async function imageOf({ disk }: DebianMachine): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-next-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const copy = join(dir, 'next');
    const bounds = { timeoutMs: 120_000, maxOutputBytes: 65_536 };
    await run('cp', ['--sparse=always', disk, copy], bounds);
    await run('e2label', [copy, 'next'], bounds);
    return copy;
  }

  async function startByGrub(on: KeyMachine): Promise<void> {
    await using programs = await debianKernel();
    await on.guest.shell(useGrub);
    const root = (await on.guest.shell('findmnt -no UUID /')).trim();
    on.startBy({
      'EFI/BOOT/BOOTX64.EFI': programs.grub,
      // As grub-install writes it.
      'EFI/debian/grub.cfg': `search.fs_uuid ${root} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n`,
    });
    await on.reboot();
  }

  const volume = async () => (await site.volume(uuid)) ?? assert.fail();
  /** `why` ends by the worst state. */
  const printed = (line: string) => site.typeHere(`${line} || true`);
  /** Waits until the list says it of the next boot. */
  const foretold = (answer: string) =>
    site.world
      .until(async () => (await site.typeHere(list)).includes(` ${answer}\n`), 900_000)
      .catch(async (cause) => {
        throw new Error(`${await printed(list)}${await printed(why)}`, { cause });
      });
  const isOpen = async () => {
    await machine.until('systemctl is-active --quiet docker');
    await diskAffirmed(site.world);
    await site.typeHere(vouching('assay get nodes worker-1 --wait trusted'));
    assert.equal(await machine.states(), 'active\n'.repeat(4));
  };

  it('is not there yet: the next boot would get its key, and does', async () => {
    const made = await site.makeVolume();
    ({ uuid } = made);
    await machine.guest.shell(made.format);
    await machine.guest.shell(`${made.lines}\n${made.enable}`);
    await foretold('key');
    await machine.reboot();
    await machine.until('systemctl is-active --quiet docker');
    await site.requireDisk();
    await isOpen();
    await machine.guest.shell('echo data >/var/lib/docker/file');
    await foretold('key');
  });

  it('is foretold before the reboot: which file, its digest, and what to type', async () => {
    const released = (await volume()).releasedAt;
    await machine.guest.shell(install);
    await machine.guest.shell(look);
    await foretold('NO KEY');
    const text = await printed(why);
    const [digest = ''] = (await machine.guest.shell(`sha256sum /boot/vmlinuz-${version}`)).split(' ');
    typed = [...text.matchAll(/^ +(assay reference .*)$/gm)].map(([, line = '']) => line);
    const words = text.replace(/\s+/g, ' ');
    assert.match(words, /worker-1 is trusted/);
    for (const word of [
      'it would get no key at its next boot',
      `/boot/vmlinuz-${version} (sha256:${digest.slice(0, 12)})`,
      'It lies there since',
    ])
      assert.ok(words.includes(word), `${word}: ${words}`);
    assert.equal((await site.world.status(node))?.state, 'trusted');
    assert.equal((await volume()).releasedAt, released);
  });

  it('gets no key once it is booted, and the console asks for the passphrase (row 450)', async () => {
    const { releasedAt, cappedAt } = await volume();
    await machine.reboot();
    assert.equal(await machine.guest.shell('uname -r'), `${version}\n`);
    await machine.shown(/enter passphrase for disk docker/);
    await site.world.until(async () => (await site.world.status(node))?.state === 'untrusted', 900_000);
    const text = await printed(refusal);
    assert.match(text, /no key for volume docker: key_withheld/);
    assert.match(text, /kernel_unknown/);
    assert.match(await printed(list), / NO KEY\n/);
    assert.match(await machine.guest.shell('journalctl -b -o cat -u assay-unlock@docker'), /key_withheld/);
    assert.deepEqual([(await volume()).releasedAt, (await volume()).cappedAt], [releasedAt, cappedAt]);
    assert.equal(await machine.guest.shell('ls /dev/mapper'), 'control\n');
    for (const line of typed) assert.ok(text.includes(line), line);
  });

  it('gets it at the boot after what `assay why` printed was typed', async () => {
    const { releasedAt } = await volume();
    await writeFile(join(site.dir, `vmlinuz-${version}`), next.files.vmlinuz ?? '');
    await writeFile(join(site.dir, `initrd.img-${version}`), next.files['initrd.img'] ?? '');
    assert.equal(typed.length, 3);
    for (const line of typed) await site.typeHere(line.includes(' approve ') ? `${line} --yes` : line);
    await foretold('key');
    await machine.reboot();
    assert.equal(await machine.guest.shell('uname -r'), `${version}\n`);
    await isOpen();
    assert.ok(((await volume()).releasedAt ?? 0) > (releasedAt ?? 0));
    assert.equal(await machine.guest.shell('cat /var/lib/docker/file'), 'data\n');
    await foretold('key');
  });
});
