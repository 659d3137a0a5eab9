import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { initrd } from '../../../agent/collectors/initrd.ts';
import { inspectBoot } from '../../../agent/inspect/boot.ts';
import { openOutFolder } from '../../../agent/inspect/out-folder.ts';
import { limits } from '../../../attest-server/wire/limits.ts';

const { signal } = new AbortController();
const { piece } = limits.initrd;
const image = Buffer.alloc(2 * piece + 10, 'an initrd ');
const digestOf = (bytes: Buffer | string, bank = 'sha256') => hash(bank, bytes, 'hex');

describe('the collector of initrds', () => {
  let root = '';
  let collector = initrd();
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-initrd-'));
    collector = initrd();
    await put('boot/initrd.img-6.12', image);
    await put('boot/initrd.img-6.11', 'an older one');
    await put('boot/vmlinuz', 'a kernel');
  });
  afterEach(() => rm(root, { recursive: true }));

  async function put(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }

  const asked = (digest: string, from = 0, most: number = limits.initrd.inAnswer) =>
    collector.read(root, signal, { of: [digest], from, bootId: null, most });

  async function found(...args: Parameters<typeof asked>) {
    const read = await asked(...args);
    assert(read !== null && !(read instanceof Unavailable), read instanceof Unavailable ? read.cause : '');
    return read;
  }

  it('sends the image of a digest of any bank, in pieces, from where it is asked for', async () => {
    for (const bank of ['sha256', 'sha384', 'sha512']) {
      const { from, more, pieces } = await found(digestOf(image, bank));
      assert.deepEqual([from, more, pieces.map(({ length }) => length)], [0, false, [piece, piece, 10]]);
      assert(Buffer.concat(pieces).equals(image));
    }
    const middle = await found(digestOf(image), 100, 1000);
    assert.deepEqual([middle.from, middle.more], [100, true]);
    assert(Buffer.concat(middle.pieces).equals(image.subarray(100, 1100)));
    const end = await found(digestOf(image), image.length - 5);
    assert.deepEqual([end.more, Buffer.concat(end.pieces).length], [false, 5]);
  });

  it('sends no other file, whoever asks, and says that there is none', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'assay-outside-'));
    await writeFile(join(outside, 'initrd.img'), 'secret');
    await symlink(join(outside, 'initrd.img'), join(root, 'boot/initrd.img-9'));
    for (const content of ['secret', 'a kernel', 'nothing at all']) {
      const read = await asked(digestOf(content));
      assert(read instanceof Unavailable);
      assert.match(read.cause, /no file of \/boot/);
    }
    await rm(outside, { recursive: true });
  });

  it('sends nothing of a file that is another one by now', async () => {
    await found(digestOf(image), 0, piece);
    await put('boot/initrd.img-6.12', Buffer.alloc(image.length, 'made anew '));
    assert((await asked(digestOf(image), piece)) instanceof Unavailable);
  });

  it('takes the copy that inspect made of one that root alone may read', async () => {
    await chmod(join(root, 'boot/initrd.img-6.12'), 0o600);
    const log = Buffer.concat([Buffer.from('a log with '), Buffer.from(digestOf(image), 'hex')]);
    await put('sys/kernel/security/tpm0/binary_bios_measurements', log);
    const folder = join(root, 'run/assay/inspect/boot');
    await mkdir(folder, { recursive: true, mode: 0o750 });
    await using out = await openOutFolder(folder, null);
    await inspectBoot(root, new Date(), out, true);
    // As it is for an agent that is not root.
    await rm(join(root, 'boot/initrd.img-6.12'));
    const { pieces } = await found(digestOf(image));
    assert(Buffer.concat(pieces).equals(image));
  });
});
