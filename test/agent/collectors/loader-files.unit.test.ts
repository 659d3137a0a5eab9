import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { loaderFiles } from '../../../agent/collectors/loader-files.ts';
import { limits } from '../../../attest-server/wire/limits.ts';

const { signal } = new AbortController();
const environment = Buffer.from('# GRUB Environment Block\n'.padEnd(1024, '#'));
const sha256 = (bytes: Buffer | string) => hash('sha256', bytes, 'hex');

describe('the collector of a loader’s files', () => {
  let root = '';
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-loader-'));
    await put('boot/grub2/grub.cfg', 'set timeout=0\n');
    await put('boot/loader/entries/one.conf', 'title one\n');
    await put('boot/efi/EFI/fedora/grub.cfg', 'configfile\n');
    await put('boot/grub2/grubenv', environment);
    await put('boot/vmlinuz', 'a kernel');
  });
  afterEach(() => rm(root, { recursive: true }));

  async function put(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }

  const asked = (...digests: readonly string[]) => askedFor(limits.filesInAnswer.bytes, ...digests);
  async function askedFor(most: number, ...digests: readonly string[]) {
    const found = await loaderFiles.read(root, signal, { of: [...digests], from: 0, bootId: null, most });
    assert(found !== null && !(found instanceof Unavailable));
    return { texts: found.pieces.map((file) => file.toString('latin1', 0, 24)), unread: found.unread };
  }

  it('sends what is asked for, by digests of any bank, and nothing else', async () => {
    const wanted = [sha256('title one\n'), hash('sha384', 'configfile\n', 'hex')];
    assert.deepEqual(await asked(...wanted), { texts: ['title one\n', 'configfile\n'], unread: null });
    assert.deepEqual(await asked(sha256('set timeout=0\n')), { texts: ['set timeout=0\n'], unread: null });
  });

  it('sends GRUB’s environment as it is, where something is not found', async () => {
    const texts = ['# GRUB Environment Block'];
    assert.deepEqual(await asked(sha256('as it was measured')), { texts, unread: null });
  });

  it('sends no more bytes than may come, the environment last', async () => {
    const [file, missing] = ['title one\n', sha256('as it was measured')];
    const [block = ''] = (await asked(missing)).texts;
    for (const [most, texts] of [
      [file.length + environment.length, [file, block]],
      [file.length + environment.length - 1, [file]],
      [file.length - 1, []],
    ] as const)
      assert.deepEqual(await askedFor(most, sha256(file), missing), { texts, unread: null });
  });

  it('reads no kernel, and follows no link out of the root', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'assay-outside-'));
    await writeFile(join(outside, 'grub.cfg'), 'secret\n');
    await symlink(join(outside, 'grub.cfg'), join(root, 'boot/linked.cfg'));
    await symlink(outside, join(root, 'boot/folder'));
    await symlink(outside, join(root, 'efi'));
    const { texts } = await asked(sha256('secret\n'), sha256('a kernel'));
    assert.deepEqual(texts, ['# GRUB Environment Block']);
    await rm(outside, { recursive: true });
  });

  it('waits for no FIFO, and passes what is too large', async () => {
    execFileSync('mkfifo', [join(root, 'boot/fifo.cfg')]);
    await put('boot/large.cfg', '');
    await truncate(join(root, 'boot/large.cfg'), limits.loaderFiles.each + 1);
    await put('boot/other.cfg', 'other\n');
    assert.deepEqual((await asked(sha256('other\n'))).texts, ['other\n']);
  });

  it('says why where something could not be looked at, and sends the rest', async () => {
    await symlink('efi', join(root, 'efi'));
    const { texts, unread } = await asked(sha256('set timeout=1\n'), sha256('title one\n'));
    assert.deepEqual(texts, ['title one\n', '# GRUB Environment Block']);
    assert.match(unread ?? '', /ELOOP/);
    assert.equal((await asked(sha256('title one\n'))).unread, null);
  });

  it('gives nothing where there is no such folder', async () => {
    await rm(join(root, 'boot'), { recursive: true });
    assert.deepEqual(await asked(sha256('x')), { texts: [], unread: null });
  });
});
