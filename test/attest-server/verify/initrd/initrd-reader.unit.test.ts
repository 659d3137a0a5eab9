import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, it } from 'mocha';
import { initrdBounds } from '../../../../attest-server/verify/initrd/bounds.ts';
import { InitrdReader } from '../../../../attest-server/verify/initrd/initrd-reader.ts';
import { file, folder, link, mode, newc, newcEntry } from '../../../../swtpm-fixtures/newc.ts';
import { faultsOf, made, readInitrd } from './read-initrd.ts';

const digest = (text: string | Buffer) => hash('sha256', text);
const zeros = (bytes: number) => Buffer.alloc(bytes);

/** An image that has a fault, and its codes. */
async function faults(...parts: readonly Buffer[]): Promise<readonly string[]> {
  return faultsOf(await readInitrd(Buffer.concat(parts)));
}

/** Files that are there in the end. */
async function files(...parts: readonly Buffer[]): Promise<readonly string[]> {
  const manifest = await readInitrd(Buffer.concat(parts));
  assert.deepEqual(manifest.faults, []);
  return [...made(manifest).keys()];
}

describe('an initrd as the kernel unpacks it', () => {
  it('is told with digests of the whole, its archives, and each entry with what it is', async () => {
    const archive = newc([
      folder('sbin'),
      { name: 'sbin/init', mode: 0o104755, uid: 7, gid: 9, content: 'run' },
      link('init', 'sbin/init'),
      { name: 'console', mode: mode.character, device: [5, 1] },
    ]);
    const manifest = await readInitrd(archive);
    assert.deepEqual(manifest, {
      version: 1,
      image: {
        bytes: archive.length,
        sha256: hash('sha256', archive),
        sha384: hash('sha384', archive),
        sha512: hash('sha512', archive),
      },
      archives: [{ offset: 0, compression: 'none', entries: 4 }],
      entries: [
        { path: 'sbin', mode: mode.folder },
        { path: 'sbin/init', mode: 0o104755, uid: 7, gid: 9, bytes: 3, sha256: digest('run') },
        { path: 'init', mode: mode.link, target: 'sbin/init' },
        { path: 'console', mode: mode.character, device: [5, 1] },
      ],
      contents: {},
      faults: [],
    });
  });

  it('may have microcode as it is in front, and archives packed in either way behind, with zeros between', async () => {
    const microcode = Buffer.concat([newc([folder('kernel'), file('kernel/ucode.bin', 'm')]), zeros(512)]);
    const first = zstdCompressSync(newc([file('a', '1')]));
    const image = [microcode, first, zeros(7), gzipSync(newc([file('b', '2')])), zeros(3)];
    const { archives, entries, faults: none } = await readInitrd(Buffer.concat(image));
    assert.deepEqual(none, []);
    assert.deepEqual(archives, [
      { offset: 0, compression: 'none', entries: 2 },
      { offset: microcode.length, compression: 'zstd', entries: 1 },
      { offset: microcode.length + first.length + 7, compression: 'gzip', entries: 1 },
    ]);
    assert.deepEqual(
      entries.map(({ path }) => path),
      ['kernel', 'kernel/ucode.bin', 'a', 'b'],
    );
  });

  it('goes on after the end of an archive, within what is packed as well: nothing hides behind it', async () => {
    const both = Buffer.concat([newc([file('seen', '1')]), zeros(512), newc([file('behind', '2')])]);
    assert.deepEqual(await files(both), ['seen', 'behind']);
    assert.deepEqual(await files(gzipSync(both)), ['seen', 'behind']);
    assert.deepEqual(await files(newc([file('open', '1')], { trailer: false }), gzipSync(both)), [
      ...['open', 'seen', 'behind'],
    ]);
  });

  it('keeps the bytes of files that are asked for, up to a bound', async () => {
    const archive = newc([
      file('conf/arch.conf', 'small'),
      file('conf/large', 'x'.repeat(40)),
      file('init', 'i'),
    ]);
    const { contents } = await readInitrd(archive, {
      keepsContent: (path) => path.startsWith('conf/'),
      bounds: { ...initrdBounds, contentBytes: 32 },
    });
    assert.deepEqual(contents, { [digest('small')]: Buffer.from('small').toString('base64') });
  });

  it('may be empty, or zeros', async () => {
    assert.deepEqual((await readInitrd(zeros(0))).faults, []);
    assert.deepEqual((await readInitrd(zeros(100))).entries, []);
  });

  it('takes the checksum of an archive that has them as the kernel does', async () => {
    const sum = { name: 'a', magic: '070702', content: 'ASDF', checksum: 0x41 + 0x53 + 0x44 + 0x46 };
    assert.deepEqual(await files(newc([sum])), ['a']);
    assert.deepEqual(await faults(newc([{ ...sum, checksum: 1 }])), ['malformed']);
  });

  it('takes a name that is filled up with zeros', async () => {
    assert.deepEqual(await files(newc([{ name: 'aligned\0\0\0\0\0\0', content: 'x' }])), ['aligned']);
  });
});

describe('an initrd of which the kernel would make something else than it seems (row 181)', () => {
  it('has a fault where it is packed in a way that is not unpacked here, by name', async () => {
    const heads = { bzip2: '425a', lzma: '5d00', xz: 'fd37', lzo: '894c', lz4: '0221' };
    for (const [name, head] of Object.entries(heads)) {
      const image = Buffer.concat([newc([file('a', '1')]), Buffer.from(head, 'hex'), zeros(40)]);
      const { faults: told } = await readInitrd(image);
      assert.deepEqual(
        told.map(({ code, offset }) => [code, offset]),
        [['compression', image.length - 42]],
      );
      assert.ok((told[0]?.text ?? '').includes(name), name);
    }
  });

  it('has a fault where an archive is followed by what is none', async () => {
    const archive = newc([file('a', '1')]);
    assert.deepEqual(await faults(archive, Buffer.from('junk')), ['trailing']);
    assert.deepEqual(await faults(archive, Buffer.from('j')), ['trailing']);
    const packed = gzipSync(archive);
    assert.deepEqual(await files(packed, zeros((4 - (packed.length % 4)) % 4), archive), ['a']);
    assert.deepEqual(await faults(packed, zeros(5 - (packed.length % 4)), archive), ['trailing']);
    assert.deepEqual(await faults(gzipSync(Buffer.concat([archive, Buffer.from('junk')]))), ['malformed']);
    assert.deepEqual(await faults(Buffer.from('hsqs of a file system')), ['malformed']);
  });

  it('has a fault where zeros between archives end anywhere', async () => {
    const archive = newc([file('a', '1')]);
    assert.deepEqual(await faults(archive, zeros(2), gzipSync(archive)), ['malformed']);
    assert.deepEqual(await faults(gzipSync(Buffer.concat([archive, zeros(3), archive]))), ['malformed']);
    // The kernel takes zeros before an archive that is packed, save before the first one.
    assert.deepEqual(await faults(gzipSync(Buffer.concat([zeros(8), archive]))), ['malformed']);
    assert.deepEqual(await files(gzipSync(archive), gzipSync(Buffer.concat([zeros(8), archive]))), ['a']);
  });

  it('has a fault where an entry goes over from one member of gzip, or frame of zstd, into the next', async () => {
    const archive = newc([file('a', 'x'.repeat(100)), file('b', 'y')]);
    const halves = [archive.subarray(0, 150), archive.subarray(150)];
    assert.deepEqual(await faults(...halves.map((half) => gzipSync(half))), ['malformed']);
    assert.deepEqual(await faults(...halves.map((half) => zstdCompressSync(half))), ['malformed']);
    const entries = [newcEntry(file('a', 'x')), newc([file('b', 'y')])];
    assert.deepEqual(await files(...entries.map((entry) => gzipSync(entry))), ['a', 'b']);
  });

  it('has a fault where a header of gzip holds what the kernel unpacks and others pass over', async () => {
    const plain = gzipSync(newc([file('a', '1')]));
    const withFlags = (flags: number, extra: Buffer) =>
      Buffer.concat([
        plain.subarray(0, 3),
        Buffer.of(flags),
        plain.subarray(4, 10),
        extra,
        plain.subarray(10),
      ]);
    assert.deepEqual(await files(withFlags(8, Buffer.from('name\0'))), ['a']);
    assert.deepEqual(await faults(withFlags(4, Buffer.from([1, 0, 7]))), ['malformed']);
    assert.deepEqual(await faults(withFlags(16, Buffer.from('text\0'))), ['malformed']);
  });

  it('has a fault where zstd begins with a frame that others skip', async () => {
    const skipped = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2]);
    assert.deepEqual(await faults(skipped, zstdCompressSync(newc([]))), ['malformed']);
    assert.deepEqual(await faults(zstdCompressSync(newc([])), skipped), ['trailing']);
  });

  it('has a fault where it is cut off, or damaged', async () => {
    const archive = newc([file('a', 'x'.repeat(3000))]);
    for (const whole of [archive, gzipSync(archive), zstdCompressSync(archive)]) {
      assert.deepEqual(await faults(whole.subarray(0, whole.length - 130)), ['malformed']);
      assert.deepEqual(await faults(whole.subarray(0, 20)), ['malformed']);
    }
    const damaged = zstdCompressSync(archive, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
    damaged[damaged.length - 1]! ^= 1;
    assert.deepEqual(await faults(damaged), ['malformed']);
  });

  it('has a fault where its end adds to the command line, even within a file', async () => {
    const bootConfig = Buffer.from('init.x = y\n\0\0\0\0\0\0\0\0\0\0\0\0#BOOTCONFIG\n');
    assert.deepEqual(await faults(newc([file('a', '1')]), bootConfig), ['trailing', 'trailing']);
    for (const filling of ['', '\0', '\0\0', '\0\0\0']) {
      const last = newc([file('a', Buffer.concat([bootConfig, Buffer.from(filling)]))], { trailer: false });
      assert.ok(
        (await faults(last.subarray(0, last.lastIndexOf('\n') + 1 + filling.length))).includes('trailing'),
      );
    }
  });

  it('has a fault where a header is read in two ways', async () => {
    const wrong = {
      hex: newc([file('a', '1')]).fill('0x000010', 22, 30),
      magic: Buffer.concat([newc([file('a', '1')]), newc([{ name: 'b', magic: '070707' }])]),
      longName: newc([{ name: 'a', nameBytes: 5000 }]),
      noName: newc([{ name: '', nameBytes: 0 }]),
      noEnd: newc([{ name: 'abcdef', nameBytes: 6 }]),
      zeroInName: newc([file('init\0.txt', 'x')]),
      bytesOfFolder: newc([{ name: 'a', mode: mode.folder, content: 'x' }]),
      bytesOfTrailer: newc([{ name: 'TRAILER!!!', content: 'x' }]),
      zeroInTarget: newc([link('a', 'b\0c')]),
      noTarget: newc([{ name: 'a', mode: mode.link }]),
      noType: newc([{ name: 'a', mode: 0o644 }]),
      wideMode: newc([{ name: 'a', mode: 0o40100644 }]),
      noDevice: newc([{ name: 'a', mode: mode.character, device: [0x1000, 1] }]),
    };
    for (const [name, image] of Object.entries(wrong))
      assert.deepEqual(await faults(image), ['malformed'], name);
  });
});

describe('an initrd that is made to cost much (row 181)', () => {
  const small = { ...initrdBounds, ratio: { from: 1024 * 1024, times: 64 } };

  it('is read no further than to its bounds', async () => {
    const many = Array.from({ length: 20 }, (_, index) => file(`f${index}`, ''));
    const bounds = {
      entries: [newc(many), { entries: 10 }],
      names: [newc(many), { names: 40 }],
      archives: [Buffer.concat(many.map((one) => gzipSync(newc([one])))), { archives: 10 }],
      unpackedBytes: [newc([file('a', zeros(5000))]), { unpackedBytes: 4000 }],
    } as const;
    for (const [name, [image, bound]] of Object.entries(bounds))
      assert.deepEqual(
        faultsOf(await readInitrd(image, { bounds: { ...initrdBounds, ...bound } })),
        ['too_large'],
        name,
      );
  });

  it('is refused where its image is too large', async () => {
    const reader = new InitrdReader({ bounds: { ...initrdBounds, imageBytes: 1000 } });
    await reader.push(zeros(1001));
    await assert.rejects(reader.end(), { name: 'Rejection', code: 'too_large' });
  });

  it('is unpacked no further than in proportion to what came', async () => {
    const bomb = newc([file('zeros', zeros(16 * 1024 * 1024))]);
    for (const packed of [gzipSync(bomb), zstdCompressSync(bomb)])
      assert.deepEqual(faultsOf(await readInitrd(packed, { bounds: small })), ['too_large']);
  });

  it('is not unpacked where zstd asks for more memory than any tool does by itself', async () => {
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0, 0]);
    assert.deepEqual(await faults(frame), ['too_large']);
  });

  it('can be left in the middle', async () => {
    const reader = new InitrdReader();
    await reader.push(gzipSync(newc([file('a', zeros(300_000))])).subarray(0, 200));
    reader.close();
  });
});
