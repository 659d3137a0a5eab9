import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { after, before, describe, it } from 'mocha';
import { atOnce } from '../../../../../attest-server/formats/in-steps.ts';
import { keepsContent } from '../../../../../attest-server/formats/initrd-kinds.ts';
import type { InitrdManifest } from '../../../../../attest-server/formats/initrd-manifest.ts';
import { type Reference, reference } from '../../../../../attest-server/formats/reference.ts';
import { InitrdJudge } from '../../../../../attest-server/policy/boot/initrd/judge-contents.ts';
import {
  type JudgedInitrd,
  judgeInitrd,
} from '../../../../../attest-server/policy/boot/initrd/judge-initrd.ts';
import { defaultBootRules } from '../../../../../attest-server/policy/boot/rules.ts';
import { vouchedBoot } from '../../../../../attest-server/policy/boot/vouched-boot.ts';
import { listedFiles } from '../../../../../attest-server/policy/listed-files.ts';
import { folder, newc } from '../../../../../swtpm-fixtures/newc.ts';
import { asRead } from '../../../../swtpm-fixtures/recorded-initrd.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../../../cli/cli-fixture.ts';
import { madeDeb } from '../../../cli/offline/runtime/made-archives.ts';
import { readInitrd } from '../../../verify/initrd/read-initrd.ts';
import { madeProof } from '../../made-proof.ts';

interface File {
  readonly path: string;
  readonly text: string;
  readonly mode?: number;
}

function archiveOf(files: readonly File[]): Buffer {
  const folders = new Set<string>();
  for (const { path } of files)
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) folders.add(path.slice(0, at));
  return newc([
    ...[...folders].map(folder),
    ...files.map(({ path, text, mode = 0o100755 }) => ({ name: path, content: text, mode })),
  ]);
}

const read = (image: Buffer): Promise<InitrdManifest> => readInitrd(image, { keepsContent });

const good: readonly File[] = [
  { path: 'init', text: 'init' },
  { path: 'usr/sbin/cryptsetup', text: 'cryptsetup' },
  { path: 'scripts/init-top/udev', text: 'udev' },
  { path: 'scripts/init-top/ORDER', text: '/scripts/init-top/udev "$@"\n', mode: 0o100644 },
];
const crypttab: File = {
  path: 'cryptroot/crypttab',
  text: 'a UUID=1 none luks,keyscript=/lib/keys\n',
  mode: 0o100644,
};

/** Of each kind that a rule knows, what it takes. */
const madeByHosts: Readonly<Record<string, string>> = {
  'conf/arch.conf': 'DPKG_ARCH=amd64\n',
  'conf/modules': 'ext4\n',
  'conf/conf.d/resume': 'RESUME=none\n',
  'usr/lib/modules/6.12/modules.order': 'kernel/fs/ext4/ext4.ko\n',
  'lib/modules/6.12/modules.order': 'kernel/fs/ext4/ext4.ko\n',
  'etc/motd': 'welcome\n',
  'etc/ld.so.cache': `glibc-ld.so.cache1.1${'\0'.repeat(28)}`,
  'etc/ld.so.conf': 'include /etc/ld.so.conf.d/*.conf\n',
  'etc/ld.so.conf.d/libc.conf': '/usr/local/lib\n',
  'usr/lib/os-release': 'ID=debian\n',
  'usr/lib/initrd-release': 'ID=fedora\n',
  'usr/lib/dracut/build-parameter.txt': '--hostonly\n',
  'usr/lib/dracut/modules.txt': 'bash\n',
  'usr/lib/dracut/dracut-105': '105\n',
};
/** Of each kind whose text is shown. */
const vouchedFor: readonly string[] = [
  'cryptroot/crypttab',
  'etc/crypttab',
  'etc/fstab',
  'etc/fstab.empty',
  'etc/mdadm.conf',
  'etc/mdadm/mdadm.conf',
  'etc/mdadm/mdadm.conf.tmp',
  'etc/cmdline',
  'etc/cmdline.d/root.conf',
  'etc/systemd/network/wired.network',
  'usr/lib/systemd/network/wired.network',
  'etc/netplan/wired.yaml',
  'run/net-eth0.conf',
  'conf/param.conf',
  'etc/conf.d/keymap',
  'etc/modprobe.d/options.conf',
];

describe('an image that is read, and judged by a list of packages', () => {
  let dir = '';
  let packages: Reference;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-initrd-'));
    writeFileSync(
      join(dir, 'tool.deb'),
      madeDeb(
        { name: './usr/share/initramfs-tools/init', content: 'init' },
        { name: './usr/share/initramfs-tools/scripts/init-top/udev', content: 'udev' },
        { name: './sbin/cryptsetup', content: 'cryptsetup' },
        { name: './bin/true', content: 'true' },
        { name: './usr/lib/modules/6.12/dm-mod.ko', content: 'module' },
        { name: './cryptroot/crypttab', content: crypttab.text },
      ),
    );
    const args = [
      'reference',
      'runtime',
      '--from-dpkg',
      '.',
      '--name',
      'r',
      '--group',
      'workers',
      '--state',
      'active',
    ];
    const { code, err } = await runAssay([...args, '-f', 'out.json'], { cwd: dir });
    assert.equal(code, 0, err);
    packages = reference.parse(JSON.parse(readFileSync(join(dir, 'out.json'), 'utf8')));
  });
  after(() => rmSync(dir, { recursive: true }));

  const judgedWith = (...more: readonly File[]) => judged(zstdCompressSync(archiveOf([...good, ...more])));

  async function judged(image: Buffer): Promise<JudgedInitrd> {
    const listed = atOnce(listedFiles(packages));
    assert.ok(listed);
    return atOnce(judgeInitrd(await read(image), { active: [listed], revoked: [], idle: [] }));
  }

  const unknownIn = (...more: readonly File[]) =>
    unknownInImage(zstdCompressSync(archiveOf([...good, ...more])));
  const unknownInImage = async (image: Buffer) =>
    (await judged(image)).unknown.map(({ entry }) => entry.path);

  it('is known as its packages have it', async () => {
    assert.deepEqual(await unknownIn(), []);
  });

  it('has the bytes of each file that a rule reads', async () => {
    const files = Object.entries(madeByHosts).map(([path, text]) => ({ path, text, mode: 0o100644 }));
    const { made, unknown } = await judgedWith(...files);
    assert.deepEqual(unknown, []);
    const order = 1;
    assert.equal(
      [...made.values()].reduce((sum, count) => sum + count),
      files.length + order,
    );
  });

  it('has the text of each file that people vouch for', async () => {
    const files = vouchedFor.map((path) => ({ path, text: `of ${path}`, mode: 0o100644 }));
    const { unknown } = await judgedWith(...files);
    assert.deepEqual(
      unknown.map(({ entry, text }) => [entry.path, text]),
      files.map(({ path, text }) => [path, text]),
    );
  });

  it('is unknown with a known program, or a link to one, in the place of another one (row 190)', async () => {
    const path = 'usr/sbin/cryptsetup';
    assert.deepEqual(await unknownIn({ path, text: 'true' }), [path]);
    assert.deepEqual(await unknownIn({ path, text: '/bin/true', mode: 0o120777 }), [path]);
  });

  it('is unknown with an order that runs something else (row 191)', async () => {
    const path = 'scripts/init-top/ORDER';
    assert.deepEqual(await unknownIn({ path, text: '/bin/true "$@"\n', mode: 0o100644 }), [path]);
  });

  it('is unknown with a program that everybody may write (row 192)', async () => {
    const path = 'usr/sbin/cryptsetup';
    assert.deepEqual(await unknownIn({ path, text: 'cryptsetup', mode: 0o100777 }), [path]);
  });

  it('is unknown with a crypttab whose keyscript is not there, though a list has it (row 194)', async () => {
    assert.deepEqual(await unknownIn(crypttab), [crypttab.path]);
    assert.deepEqual(await unknownIn(crypttab, { path: 'lib/keys', text: 'evil' }), ['lib/keys']);
  });

  it('is unknown with a table of the firmware that stands before its folder (row 240)', async () => {
    const table = { name: 'kernel/firmware/acpi/dsdt.aml', content: 'evil' };
    const early = newc([table, folder('kernel')]);
    assert.deepEqual(await unknownInImage(Buffer.concat([early, archiveOf(good)])), [table.name]);
  });

  it('is unknown with a list of devices that gives a disk the name of another one (row 241)', async () => {
    const path = 'usr/lib/modules/6.12/modules.devname';
    const list = (device: string) => ({ path, text: `dm_mod mapper/root ${device}\n`, mode: 0o100644 });
    const module = { path: 'usr/lib/modules/6.12/dm-mod.ko', text: 'module', mode: 0o100644 };
    assert.deepEqual(await unknownIn(module, list('c10:236')), []);
    assert.deepEqual(await unknownIn(module, list('b8:1')), [path]);
  });

  it('is at fault where it ends without its end, so that the next one writes into its files (row 242)', async () => {
    const first = { name: 'init', content: 'init', mode: 0o100755, links: 2, inode: 7 };
    const codes = async (trailer: boolean) =>
      (await read(gzipSync(newc([first], { trailer })))).faults.map(({ code }) => code);
    assert.deepEqual(await codes(true), []);
    assert.deepEqual(await codes(false), ['malformed']);
  });

  it('is unknown where more follows that is packed by lz4 (row 193)', async () => {
    const proven = madeProof({ log: recordedLog('debian13-shim-grub') });
    assert.ok(proven.boot);
    const boot = vouchedBoot(proven.boot, proven.banks, defaultBootRules, []);
    const digest = proven.boot.state.components.find(({ stage }) => stage === 'initrd')?.digests.sha256 ?? '';
    const codes = async (image: Buffer) => {
      const manifest = await read(image);
      const measured = { ...manifest, image: { ...manifest.image, sha256: digest } };
      const judge = new InitrdJudge([packages], 'workers', defaultBootRules);
      return judge.judge(boot, [asRead(measured)], null, 0).findings.map(({ code }) => code);
    };
    const lz4 = Buffer.from('02214c18', 'hex');
    assert.deepEqual(await codes(gzipSync(archiveOf(good))), []);
    assert.deepEqual(await codes(Buffer.concat([gzipSync(archiveOf(good)), lz4])), ['initrd_unknown']);
  });
});
