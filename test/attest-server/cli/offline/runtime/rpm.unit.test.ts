import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parseRpm, readRpm } from '../../../../../attest-server/cli/offline/runtime/rpm.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { recordedRpm, withoutContent } from './recorded-packages.ts';

const whole = readFileSync(recordedRpm);
const good = withoutContent(whole);

describe('an rpm package', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-rpm-'));
  });
  after(() => rmSync(dir, { recursive: true }));

  it('gives its files and links by what its header says of them, below /usr', () => {
    const program = hash('sha256', '#!/bin/sh\necho example\n');
    assert.deepEqual(
      readRpm(recordedRpm).map((file) => ({ ...file, digest: file.digest.toString('hex') })),
      [
        ['/etc/assay-example.conf', hash('sha256', 'a=1\n')],
        ['/usr/lib/assay-example/part', hash('sha256', 'library\n')],
        ['/usr/bin/assay-example', program],
        ['/usr/bin/assay-hard', program],
        ['/usr/bin/assay-link', hash('sha256', 'link\0assay-example')],
      ].map(([path, digest]) => ({ digest, path, package: 'assay-example 1:1.2-3' })),
    );
  });

  it('is read without its content', () => {
    assert.deepEqual(parseRpm(good), readRpm(recordedRpm));
  });

  it('that ends within its header is refused', () => {
    for (const length of [0, 50, 112, 300, good.length - 1]) {
      const path = join(dir, `${length}.rpm`);
      writeFileSync(path, whole.subarray(0, length));
      assert.throws(() => readRpm(path), rejected('malformed', 'header'));
    }
  });

  const main = Math.ceil((96 + 16 + good.readUInt32BE(104) * 16 + good.readUInt32BE(108)) / 8) * 8;
  const faults: readonly (readonly [string, (bytes: Buffer) => void, Rejection['code'], string])[] = [
    ['of another format', (bytes) => bytes.writeUInt8(0, 0), 'malformed', 'magic'],
    ['of sources', (bytes) => bytes.writeUInt16BE(1, 6), 'malformed', 'type'],
    ['without a header', (bytes) => bytes.writeUInt8(0, main), 'malformed', 'header'],
    ['with a header of gigabytes', (bytes) => bytes.writeUInt32BE(1 << 30, main + 8), 'too_large', 'header'],
    ['with a million names', setCount(1117, 1_000_000), 'malformed', 'offset'],
    ['with a billion modes', setCount(1030, 1_000_000_000), 'malformed', 'count'],
    ['with fewer digests than names', setCount(1035, 2), 'malformed', 'names'],
    ['with MD5', (bytes) => setNumber(bytes, 5011, 1), 'malformed', 'algorithm'],
    [
      'with names that are numbers',
      (bytes) => bytes.writeUInt32BE(4, entryOf(bytes, 1117) + 4),
      'malformed',
      'type',
    ],
    ['with a folder that is not there', (bytes) => setNumber(bytes, 1116, 99), 'malformed', 'folders'],
    [
      'with digests cut off',
      (bytes) => bytes.write('xyz', bytes.indexOf('97b29a63')),
      'malformed',
      'digests',
    ],
    [
      'with a path that is none',
      (bytes) => bytes.write('/', bytes.indexOf('assay-hard')),
      'malformed',
      'folders',
    ],
    ['without a version', (bytes) => bytes.writeUInt32BE(1, entryOf(bytes, 1001)), 'malformed', 'name'],
  ];
  for (const [what, change, code, field] of faults) {
    it(`${what} is refused`, () => {
      const bytes = Buffer.from(good);
      change(bytes);
      assert.throws(() => parseRpm(bytes), rejected(code, field));
    });
  }

  function entryOf(bytes: Buffer, tag: number): number {
    for (let at = main + 16; ; at += 16) if (bytes.readUInt32BE(at) === tag) return at;
  }

  function setCount(tag: number, count: number): (bytes: Buffer) => void {
    return (bytes) => {
      bytes.writeUInt32BE(count, entryOf(bytes, tag) + 12);
    };
  }

  /** The first one that a tag has. */
  function setNumber(bytes: Buffer, tag: number, value: number): void {
    const store = main + 16 + bytes.readUInt32BE(main + 8) * 16;
    bytes.writeUInt32BE(value, store + bytes.readUInt32BE(entryOf(bytes, tag) + 8));
  }
});

function rejected(code: Rejection['code'], field: string): (error: unknown) => boolean {
  return (error) => error instanceof Rejection && error.code === code && error.field === field;
}
