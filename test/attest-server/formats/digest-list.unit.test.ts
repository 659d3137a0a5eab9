import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'mocha';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import type { ListedFile } from '../../../attest-server/formats/packed-list.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

const bash = file('/usr/bin/bash', 'bash 5.2', 'bash 5.2-15');
const bashNew = file('/usr/bin/bash', 'bash 5.3', 'bash 5.3-1');
const copy = file('/usr/share/doc/a/copyright', 'licence', 'a 1');
const otherCopy = file('/usr/share/doc/b/copyright', 'licence', 'b 1');
const old: ListedFile = { ...file('/usr/lib/old.so', 'old', null), digest: sha('sha1', 'old') };

describe('a digest list', () => {
  it('finds each digest by its number, and -1 for others', () => {
    const list = DigestList.of([bash, bashNew, copy, otherCopy, old]);
    assert.equal(list.size, 4);
    for (const { digest } of [bash, bashNew, copy, old])
      assert.deepEqual(list.digestAt(list.find(digest)), digest);
    assert.equal(list.find(old.digest), 0, 'shorter ones come first');
    assert.equal(list.find(sha('sha256', 'other')), -1);
    assert.equal(list.find(sha('sha512', 'old')), -1);
    assert.equal(list.find(Buffer.alloc(0)), -1);
    assert.equal(list.find(bash.digest.subarray(0, 20)), -1);
  });

  it('knows several paths of one digest, and several digests of one path', () => {
    const list = DigestList.of([otherCopy, bashNew, copy, bash]);
    assert.deepEqual(list.filesOf(list.find(copy.digest)), [copy, otherCopy]);
    assert.deepEqual(
      list.filesAt('/usr/bin/bash'),
      [bash, bashNew].sort((a, b) => Buffer.compare(a.digest, b.digest)),
    );
    assert.deepEqual(list.filesAt('/usr/bin/bas'), []);
    assert.deepEqual(list.filesAt(''), []);
  });

  it('knows no package where nobody said one', () => {
    const list = DigestList.of([old]);
    assert.deepEqual(list.filesOf(0), [old]);
  });

  it('names the last package in order where two bring the same file', () => {
    const both = [bash, { ...bash, package: 'bash 5.2-16' }, { ...bash, package: null }];
    for (const files of [both, both.toReversed()]) {
      const list = DigestList.of(files);
      assert.deepEqual([...list.files()], [{ ...bash, package: 'bash 5.2-16' }]);
    }
  });

  it('finds each of thousands of files, over blocks and slots', () => {
    const files = Array.from({ length: 5000 }, (_, index) =>
      file(`/usr/lib/m/${index}.ko`, `module ${index % 4000}`, `linux ${index % 7}`),
    );
    const list = DigestList.of(files);
    assert.equal(list.size, 4000);
    for (const { digest, path } of files) {
      assert(list.filesOf(list.find(digest)).some((one) => one.path === path));
      assert.deepEqual(
        list.filesAt(path).map((one) => one.digest),
        [digest],
      );
    }
  });

  it('finds each of many files that are alike by its path, without a look at the others', () => {
    const files = Array.from({ length: 20_000 }, (_, index) =>
      file(`/usr/lib/python3/${index}/__init__.py`, '', `python3-${index} 1`),
    );
    const list = DigestList.of(files);
    for (const one of files) assert.deepEqual(list.filesAt(one.path), [one]);
    assert.equal(list.filesOf(0).length, files.length);
  }).timeout(10_000);

  it('is made and read in steps, each of some thousand files', () => {
    const files = Array.from({ length: 50_000 }, (_, index) => file(`/${index}`, `${index % 9000}`, null));
    const making = DigestList.ofInSteps(files);
    let steps = 0;
    let made = making.next();
    for (; made.done !== true; made = making.next()) steps += 1;
    assert.ok(steps >= 2 * (50_000 / 4096), `${steps} steps`);
    const bytes = made.value.toBytes();
    assert.deepEqual(DigestList.of(files.toReversed()).toBytes(), bytes);
    assert.ok([...DigestList.fromBytesInSteps(bytes)].length >= 3);
  });

  it('finds a path whose digests fill more than a block of files', () => {
    const files = Array.from({ length: 40 }, (_, index) => file('/etc/hosts', `${index}`, null));
    const list = DigestList.of([bash, ...files, old]);
    assert.equal(list.filesAt('/etc/hosts').length, 40);
  });

  it('is the same bytes in whatever order files come, and reads them again', () => {
    const files = [bash, bashNew, copy, otherCopy, old];
    const bytes = DigestList.of(files).toBytes();
    assert.deepEqual(DigestList.of(files.toReversed()).toBytes(), bytes);
    assert.deepEqual([...DigestList.fromBytes(bytes).files()].length, files.length);
    assert.deepEqual(DigestList.of(DigestList.fromBytes(bytes).files()).toBytes(), bytes);
  });

  it('is made of the files of others without what is twice', () => {
    const lists = [DigestList.of([bash, copy]), DigestList.of([bashNew, copy, old])];
    const merged = DigestList.of(lists.flatMap((list) => [...list.files()]));
    assert.deepEqual(merged.toBytes(), DigestList.of([bash, bashNew, copy, old]).toBytes());
  });

  it('is empty of no files', () => {
    const list = DigestList.fromBytes(DigestList.of([]).toBytes());
    assert.equal(list.size, 0);
    assert.equal(list.find(bash.digest), -1);
    assert.deepEqual(list.filesAt('/usr/bin/bash'), []);
  });

  const noFiles: readonly (readonly [string, Partial<ListedFile>, string])[] = [
    ['a digest of an unknown length', { digest: Buffer.alloc(31) }, 'digest'],
    ['an empty path', { path: '' }, 'path'],
    ['a path with a NUL', { path: '/a\0b' }, 'path'],
    ['a path that is too long', { path: `/${'a'.repeat(4096)}` }, 'path'],
    ['an empty package', { package: '' }, 'package'],
    ['a package that is too long', { package: 'a'.repeat(256) }, 'package'],
  ];
  for (const [what, change, field] of noFiles) {
    it(`takes no file with ${what}`, () => {
      assert.throws(() => DigestList.of([{ ...bash, ...change }]), rejected(field));
    });
  }
});

describe('packed bytes of a digest list', () => {
  const good = DigestList.of([bash, bashNew, copy, otherCopy, old]).toBytes();
  const counts = 20;
  const packages = counts + 24;
  const digests = packages + ['a 1', 'b 1', 'bash 5.2-15', 'bash 5.3-1'].join('.').length + 1;

  const faults: readonly (readonly [string, (bytes: Buffer) => Buffer, string])[] = [
    [
      'of another version',
      (bytes) => Buffer.concat([Buffer.from('assay/digest-list/2\n'), bytes.subarray(20)]),
      'version',
    ],
    ['that end early', (bytes) => bytes.subarray(0, -1), 'package'],
    ['with more after the last file', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), 'files'],
    ['that claim a billion digests', (bytes) => withNumber(bytes, counts, 1 << 30), 'digests of 20 bytes'],
    ['that claim a billion packages', (bytes) => withNumber(bytes, counts + 16, 1 << 30), 'packages'],
    ['that claim a billion files', (bytes) => withNumber(bytes, counts + 20, 1 << 30), 'files'],
    ['with packages in another order', (bytes) => withText(bytes, packages + 1, 'c'), 'package'],
    [
      'with a package that is no UTF-8',
      (bytes) => withNumber(bytes, packages + 17, 0xff_ff_ff_ff),
      'package',
    ],
    ['with digests in another order', swapped, 'digests of 32 bytes'],
    ['with a digest twice', doubled, 'digests of 32 bytes'],
  ];
  for (const [what, change, field] of faults) {
    it(`${what} are refused`, () => {
      assert.throws(() => DigestList.fromBytes(change(Buffer.from(good))), rejected(field));
    });
  }

  /** One digest and files that are written by hand. */
  const written: readonly (readonly [string, number, string, string])[] = [
    ['a path after a later one', 2, '00 02 2f62 00 00  01 01 61 00 00', 'path'],
    ['a file twice', 2, '00 02 2f62 00 00  02 00 00 00', 'digest'],
    ['less shared than could be', 2, '00 02 2f62 00 00  00 03 2f6262 00 00', 'path'],
    ['more shared than there is', 2, '00 02 2f62 00 00  03 01 62 00 00', 'shared'],
    ['a first path that shares', 1, '01 01 62 00 00', 'shared'],
    ['an empty path', 1, '00 00 00 00', 'path'],
    ['a NUL in a path', 1, '00 02 2f00 00 00', 'path'],
    ['a path that is no UTF-8', 1, '00 02 2fff 00 00', 'path'],
    ['a digest that is not there', 1, '00 02 2f62 01 00', 'digest'],
    ['a package that is not there', 1, '00 02 2f62 00 01', 'package'],
    ['a number in a longer form', 1, '00 8200 2f62 00 00', 'rest'],
    ['a number of 35 bits', 1, '00 ffffffff0f 2f62 00 00', 'rest'],
    ['no file of its digest', 0, '', 'files'],
  ];
  for (const [what, count, hex, field] of written) {
    it(`with ${what} are refused`, () => {
      assert.throws(() => DigestList.fromBytes(oneDigest(count, hex)), rejected(field));
    });
  }

  it('are taken as they are written by hand', () => {
    const list = DigestList.fromBytes(oneDigest(2, '00 02 2f62 00 00  02 01 62 00 00'));
    assert.deepEqual(
      list.filesOf(0).map(({ path }) => path),
      ['/b', '/bb'],
    );
  });

  function swapped(bytes: Buffer): Buffer {
    const from = digests + 20;
    return Buffer.concat([
      bytes.subarray(0, from),
      bytes.subarray(from + 32, from + 64),
      bytes.subarray(from, from + 32),
      bytes.subarray(from + 64),
    ]);
  }

  function doubled(bytes: Buffer): Buffer {
    bytes.copy(bytes, digests + 52, digests + 20, digests + 52);
    return bytes;
  }
});

function oneDigest(files: number, hex: string): Buffer {
  const numbers = Buffer.alloc(24);
  numbers.writeUInt32BE(1, 0);
  numbers.writeUInt32BE(files, 20);
  return Buffer.concat([
    Buffer.from('assay/digest-list/1\n'),
    numbers,
    Buffer.alloc(20),
    Buffer.from(hex.replaceAll(' ', ''), 'hex'),
  ]);
}

function withNumber(bytes: Buffer, at: number, value: number): Buffer {
  bytes.writeUInt32BE(value, at);
  return bytes;
}

function withText(bytes: Buffer, at: number, value: string): Buffer {
  bytes.write(value, at);
  return bytes;
}

function file(path: string, content: string, name: string | null): ListedFile {
  return { digest: sha('sha256', content), path, package: name };
}

function sha(algorithm: string, content: string): Buffer {
  return createHash(algorithm).update(content).digest();
}

function rejected(field: string): (error: unknown) => boolean {
  return (error) => error instanceof Rejection && error.code === 'malformed' && error.field === field;
}
