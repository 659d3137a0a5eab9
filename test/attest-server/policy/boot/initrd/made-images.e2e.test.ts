import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { after, before, describe, it } from 'mocha';
import { InitrdJudge } from '../../../../../attest-server/policy/boot/initrd/judge-contents.ts';
import { judgeInitrd } from '../../../../../attest-server/policy/boot/initrd/judge-initrd.ts';
import { defaultBootRules } from '../../../../../attest-server/policy/boot/rules.ts';
import { vouchedBoot } from '../../../../../attest-server/policy/boot/vouched-boot.ts';
import { listedFiles } from '../../../../../attest-server/policy/listed-files.ts';
import { atOnce } from '../../../../../attest-server/protocol/in-steps.ts';
import { keepsContent } from '../../../../../attest-server/protocol/initrd-kinds.ts';
import type { InitrdManifest } from '../../../../../attest-server/protocol/initrd-manifest.ts';
import { type Reference, reference } from '../../../../../attest-server/protocol/reference.ts';
import { newc } from '../../../../../swtpm-fixtures/newc.ts';
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
  return newc(files.map(({ path, text, mode = 0o100755 }) => ({ name: path, content: text, mode })));
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

  async function unknownIn(...more: readonly File[]): Promise<readonly string[]> {
    const listed = atOnce(listedFiles(packages));
    assert.ok(listed);
    const image = zstdCompressSync(archiveOf([...good, ...more]));
    const judged = atOnce(judgeInitrd(await read(image), { active: [listed], revoked: [], idle: [] }));
    return judged.unknown.map(({ entry }) => entry.path);
  }

  it('is known as its packages have it', async () => {
    assert.deepEqual(await unknownIn(), []);
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
