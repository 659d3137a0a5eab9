import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { readDeb } from '../../../../../attest-server/cli/offline/runtime/deb.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { madeAr, madeDeb, madeTar } from './made-archives.ts';

const version = ['debian-binary', Buffer.from('2.0\n')] as const;
const control = [
  'control.tar',
  madeTar({ name: './control', content: 'Package: tool\nVersion: 1.0\n' }),
] as const;
const data = ['data.tar', madeTar({ name: './bin/tool', content: 'tool' })] as const;

describe('a Debian package', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-deb-'));
  });
  after(() => rmSync(dir, { recursive: true }));

  async function read(bytes: Buffer) {
    const path = join(dir, 'one.deb');
    writeFileSync(path, bytes);
    return Array.fromAsync(readDeb(path));
  }

  it('gives each file and link, below /usr, with name and version', async () => {
    const digest = hash('sha256', 'tool', 'buffer');
    const files = await read(
      madeDeb(
        { name: './bin/tool', content: 'tool' },
        { name: './bin/other', type: '1', linkTo: './bin/tool' },
        { name: './bin/third', type: '1', linkTo: './bin/other' },
        { name: './lib/link', type: '2', linkTo: '../bin/tool' },
        { name: './library', content: 'tool' },
      ),
    );
    const link = hash('sha256', 'link\0../bin/tool', 'buffer');
    const expected = [
      ['/usr/bin/tool', digest],
      ['/usr/bin/other', digest],
      ['/usr/bin/third', digest],
      ['/usr/lib/link', link],
      ['/library', digest],
    ] as const;
    assert.deepEqual(
      files,
      expected.map(([path, its]) => ({ digest: its, path, package: 'tool 1:1.0-1' })),
    );
  });

  const faults: readonly (readonly [string, Buffer, string])[] = [
    ['that is none', Buffer.from('something else'), 'magic'],
    ['that is empty', Buffer.alloc(0), 'header'],
    ['that ends within a header', madeAr(version).subarray(0, 40), 'header'],
    ['that ends within a member', madeAr(version, control, data).subarray(0, -10), 'size'],
    ['without the name of its format', madeAr(control, data), 'name'],
    ['without control', madeAr(version, data), 'name'],
    ['without files', madeAr(version, control), 'name'],
    ['of many members', madeAr(...Array.from({ length: 20 }, () => version)), 'name'],
    ['packed in an unknown way', madeAr(version, control, ['data.tar.lzma', data[1]]), 'name'],
    ['whose packed files are no gzip', madeAr(version, control, ['data.tar.gz', data[1]]), 'data.tar.gz'],
    ['whose packed files are no zstd', madeAr(version, control, ['data.tar.zst', data[1]]), 'data.tar.zst'],
    ['whose files are empty', madeAr(version, control, ['data.tar.xz', Buffer.alloc(0)]), 'size'],
    [
      'without a control file',
      madeAr(version, ['control.tar', madeTar({ name: './md5sums' })], data),
      'control.tar',
    ],
    [
      'that names no version',
      madeAr(version, ['control.tar', madeTar({ name: './control', content: 'Package: tool\n' })], data),
      'control',
    ],
    ['with a link to nothing', madeDeb({ name: './a', type: '1', linkTo: './b' }), 'data.tar'],
    ['with a path out of it', madeDeb({ name: './../a' }), 'path'],
  ];
  for (const [what, bytes, field] of faults) {
    it(`${what} is refused`, async () => {
      await assert.rejects(
        read(bytes),
        (error) => error instanceof Rejection && error.code === 'malformed' && error.field === field,
      );
    });
  }
});
