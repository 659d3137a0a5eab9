import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { appraise } from '../../../../attest-server/policy/appraise.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { parseDiskPart } from '../../../../attest-server/wire/disk.ts';
import { diskPartOfFolder } from '../../../recorded/disk-folder.ts';
import { codesOf, judged, proofWith, recordedDisks, recordedPart } from './made-disk.ts';

const policy = parsePolicy(
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: all\n    nodes: ["*"]\n    require: [disk]\n',
  'strict, but for the disk alone',
);

const rows = readFileSync(join(recordedDisks, 'EXPECTED.tsv'), 'utf8')
  .split('\n')
  .slice(1)
  .map((line) => line.split('\t'));

describe('a recorded disk', () => {
  for (const [folder = '', , codes = '', why] of rows.filter(([name = '']) => name !== ''))
    it(`${folder}: ${codes} (${why})`, async () => {
      const part = await recordedPart(folder);
      parseDiskPart(Buffer.from(JSON.stringify(part)));
      const { state, reasons } = appraise(proofWith(part), policy, { name: 'n' }, [], 0).verdict;
      const failing = reasons.filter((one) => one.aspect === 'disk' && one.severity === 'fail');
      const [, expected = '', warnings = ''] = /^([^[]*?) ?(?:\[(.*)\])?$/.exec(codes) ?? [];
      assert.equal(state, expected === '-' ? 'trusted' : 'untrusted');
      assert.deepEqual(
        failing.filter(({ code }) => !expected.split(', ').includes(code)).map(({ code }) => code),
        [],
      );
      assert.deepEqual(
        reasons.filter((one) => one.severity === 'warn').map(({ code }) => code),
        warnings === '' ? [] : warnings.split(', '),
      );
    });
});

describe('a folder of the same recorder', () => {
  /** A copy of a recorded folder in which these texts are others. */
  async function changed(
    name: string,
    edits: Readonly<Record<string, (text: string) => string>>,
    names: Readonly<Record<string, string>> = {},
  ) {
    const folder = await mkdtemp(join(tmpdir(), 'assay-recorded-'));
    try {
      await cp(join(recordedDisks, name), folder, { recursive: true });
      for (const [file, edit] of Object.entries(edits)) {
        const path = join(folder, file);
        await writeFile(path, edit(await readFile(path, 'utf8').catch(() => '')));
      }
      for (const file of await readdir(folder))
        for (const [from, to] of Object.entries(names))
          if (file.includes(from)) await rename(join(folder, file), join(folder, file.replace(from, to)));
      return codesOf(judged(await diskPartOfFolder(folder)));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  const line = (text: string) => (before: string) => `${before}${text}\n`;

  it('has LUKS on a logical volume, called in each way', async () => {
    const edits = {
      'sys-block.txt': (text: string) =>
        text.replace(
          'dm-0 dev=253:0 slaves=[vdd ]',
          'dm-9 dev=253:9 slaves=[vdd ] holders=[dm-0 ] loop=\ndm-0 dev=253:0 slaves=[dm-9 ]',
        ),
      'sys-dm-uuid.txt': line('dm-9/dm name=vgd-docker uuid=LVM-abc suspended=0'),
      'dmsetup-table.txt': line('vgd-docker: 0 483328 linear 254:48 2048'),
    };
    for (const called of ['vgd-docker', 'mapper_vgd-docker', 'vgd_docker', '_dev_vgd_docker', 'dm-9'])
      assert.deepEqual(
        await changed('01-luks2', edits, { 'luksDump-vdd.': `luksDump-${called}.` }),
        [],
        called,
      );
  });

  it('has a RAID of which one leg is bare', async () => {
    const raid = (legs: string) => ({
      'sys-block.txt': line(`md0 dev=9:0 slaves=[${legs} ] holders=[] loop=`),
      'mountinfo.txt': (text: string) => text.replace(' 253:0 ', ' 9:0 '),
    });
    assert.deepEqual(await changed('01-luks2', raid('dm-0')), []);
    assert.deepEqual(await changed('01-luks2', raid('dm-0 vde')), ['mount_not_encrypted']);
  });

  it('has a btrfs, of which one device may be bare', async () => {
    const btrfs = {
      'mountinfo.txt': (text: string) => text.replace(/ 253:0 (.*) - ext4 /, ' 0:40 $1 - btrfs '),
    };
    const both = ['mapper/docker_crypt', 'vde'].map(
      (name) => `/dev/${name}: UUID="a1" UUID_SUB="b" TYPE="btrfs"`,
    );
    assert.deepEqual(await changed('01-luks2', btrfs), []);
    assert.deepEqual(await changed('01-luks2', { ...btrfs, 'blkid.txt': line(both.join('\n')) }), [
      'mount_not_encrypted',
    ]);
  });

  it('has swap on a bare disk, an encrypted one, or in a file', async () => {
    const swap = (path: string) => ({ 'swaps.txt': line(`${path}\tpartition\t1024\t0\t-2`) });
    assert.deepEqual(await changed('01-luks2', swap('/dev/vde')), ['key_residue']);
    assert.deepEqual(await changed('01-luks2', swap('/dev/dm-0')), []);
    assert.deepEqual(await changed('01-luks2', swap('/swapfile')), ['key_residue']);
  });

  it('lacks files of which a judgement cannot do without', async () => {
    assert.deepEqual(await changed('01-luks2', {}, { 'luksDump-': 'other-' }), ['facts_unavailable']);
    assert.deepEqual(await changed('01-luks2', {}, { 'dmsetup-table': 'other', 'status-': 'other-' }), [
      'facts_unavailable',
    ]);
    // cryptsetup says as much as a table.
    assert.deepEqual(await changed('01-luks2', {}, { 'dmsetup-table': 'other' }), []);
  });

  it('has little more than what a judgement needs', async () => {
    const needed = ['mountinfo.txt', 'sys-block.txt', 'sys-dm-uuid.txt', 'dmsetup-table.txt'];
    const judgedBy = async (name: string, dump: string) => {
      const folder = await mkdtemp(join(tmpdir(), 'assay-recorded-'));
      try {
        for (const file of await readdir(join(recordedDisks, name)))
          if (needed.includes(file) || (file.startsWith('luksDump-') && file.endsWith(dump)))
            await cp(join(recordedDisks, name, file), join(folder, file));
        return codesOf(judged(await diskPartOfFolder(folder)));
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    };
    for (const dump of ['.txt', '.json']) {
      assert.deepEqual(await judgedBy('01-luks2', dump), [], dump);
      assert.deepEqual(await judgedBy('14-luks2-partition', dump), [], dump);
      assert.deepEqual(await judgedBy('07-luks2-cipher-null', dump), ['luks_null_cipher'], dump);
      assert.deepEqual(await judgedBy('09-bind-over', dump), ['path_not_covered'], dump);
      assert.deepEqual(await judgedBy('02-plain-ext4', dump), ['mount_not_encrypted'], dump);
    }
    assert.deepEqual(await judgedBy('04-luks1', '.txt'), ['luks_version']);
  });

  it('has something mounted below the path, or a keyslot more', async () => {
    const below = line('40 34 254:64 / /var/lib/docker/volumes rw - ext4 /dev/vde rw');
    assert.deepEqual(await changed('01-luks2', { 'mountinfo.txt': below }), ['path_not_covered']);
    const more = (text: string) =>
      text.replace('"keyslots":{', '"keyslots":{"1":{"type":"luks2","key_size":64},');
    assert.deepEqual(await changed('01-luks2', { 'luksDump-vdd.json': more }), ['luks_extra_keyslot']);
  });
});
