import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseKmodIndex } from '../../../../../attest-server/policy/boot/initrd/kmod-index.ts';
import { parseLibraryCache } from '../../../../../attest-server/policy/boot/initrd/library-cache.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { recordedManifest } from '../../../../swtpm-fixtures/recorded-initrd.ts';

const { entries, contents } = recordedManifest();

function recorded(name: string): Buffer {
  const entry = entries.find(({ path }) => path.endsWith(`/${name}`));
  return Buffer.from(contents[entry?.sha256 ?? ''] ?? '', 'base64');
}

const entriesOf = (bytes: Buffer) => [...parseKmodIndex(bytes)].filter((one) => one !== 'step');

const linesOf = (name: string) =>
  recorded(name)
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

const isMalformed = (offset: number) => (error: unknown) =>
  error instanceof Rejection && error.code === 'malformed' && error.offset === offset;

describe('an index of modules', () => {
  it('says what depmod wrote as text beside it', () => {
    const values = entriesOf(recorded('modules.dep.bin')).map(({ value }) => value.trim());
    assert.deepEqual(
      values.toSorted(),
      linesOf('modules.dep')
        .map((line) => line.trim())
        .toSorted(),
    );
    assert.ok(values.length > 5);
  });

  it('says of each alias what the text says', () => {
    const told = entriesOf(recorded('modules.alias.bin')).map(({ key, value }) => `alias ${key} ${value}`);
    const inKernelNames = linesOf('modules.alias').map((line) => line.replaceAll('-', '_'));
    assert.deepEqual(new Set(told.map((line) => line.replaceAll('-', '_'))), new Set(inKernelNames));
  });

  it('is refused where it begins otherwise, ends early, or reaches a node twice', () => {
    const whole = recorded('modules.dep.bin');
    assert.throws(() => entriesOf(Buffer.alloc(0)), isMalformed(0));
    assert.throws(() => entriesOf(Buffer.concat([Buffer.from('x'), whole])), isMalformed(0));
    assert.throws(() => entriesOf(whole.subarray(0, whole.length / 2)), Rejection);
    const circle = Buffer.alloc(18);
    // A root with one child, which is the root.
    circle.writeUInt32BE(0xb007f457, 0);
    circle.writeUInt32BE(0x00020001, 4);
    circle.writeUInt32BE(0x2000000c, 8);
    circle.write('aa', 12);
    circle.writeUInt32BE(0x2000000c, 14);
    assert.throws(() => entriesOf(circle), isMalformed(14));
  });
});

describe('a cache of libraries', () => {
  it('gives each library by its own name, as ldconfig wrote it', () => {
    const libraries = [...parseLibraryCache(recorded('ld.so.cache'))];
    assert.ok(
      libraries.some(({ name, path }) => name === 'libcryptsetup.so.12' && path.endsWith(`/${name}`)),
    );
    assert.ok(libraries.length > 10);
  });

  it('is refused where it is of another form, or ends early', () => {
    const whole = recorded('ld.so.cache');
    assert.throws(() => [...parseLibraryCache(Buffer.from('ld.so-1.7.0'))], isMalformed(0));
    assert.throws(() => [...parseLibraryCache(whole.subarray(0, 60))], isMalformed(20));
  });
});
