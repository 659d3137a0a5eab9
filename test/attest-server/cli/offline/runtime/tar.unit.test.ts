import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { readTar } from '../../../../../attest-server/cli/offline/runtime/tar.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { madeTar } from './made-archives.ts';

const sha256 = (text: string) => hash('sha256', text, 'buffer');

describe('an archive of tar', () => {
  const long = `./usr/share/${'long/'.repeat(40)}name`;
  const archive = madeTar(
    { name: './', type: '5' },
    { name: './usr/bin/tool', content: 'tool' },
    { name: './usr/bin/empty' },
    { name: './usr/bin/link', type: '2', linkTo: 'tool' },
    { name: './usr/bin/hard', type: '1', linkTo: './usr/bin/tool' },
    { name: '././@LongLink', type: 'L', content: `${long}\0` },
    { name: 'cut', content: 'a' },
    { name: 'x', type: 'x', content: `${record('path', '/opt/ünï')}${record('mtime', '1.5')}` },
    { name: 'cut', content: 'b' },
    { name: './last', content: 'c'.repeat(600) },
  );

  for (const piece of [1, 511, 513, 1 << 20]) {
    it(`gives its files with their digests, in pieces of ${piece} bytes`, async () => {
      assert.deepEqual(await filesOf(archive, piece), [
        { path: '/usr/bin/tool', digest: sha256('tool'), text: null },
        { path: '/usr/bin/empty', digest: sha256(''), text: null },
        { path: '/usr/bin/link', target: 'tool' },
        { path: '/usr/bin/hard', linkTo: '/usr/bin/tool' },
        { path: long.slice(1), digest: sha256('a'), text: null },
        { path: '/opt/ünï', digest: sha256('b'), text: null },
        { path: '/last', digest: sha256('c'.repeat(600)), text: null },
      ]);
    });
  }

  it('keeps the bytes of small files where it is asked for them', async () => {
    const [tool] = await filesOf(archive, 512, 4);
    assert.deepEqual(tool && 'text' in tool && tool.text, Buffer.from('tool'));
  });

  const faulty: readonly (readonly [string, Buffer, Rejection['code'], string])[] = [
    ['a path out of it', madeTar({ name: '../../etc/passwd' }), 'malformed', 'path'],
    ['no path', madeTar({ name: './' }), 'malformed', 'path'],
    ['a wrong checksum', madeTar({ name: 'a', checksum: '000000\0 ' }), 'malformed', 'checksum'],
    ['a size that is no number', madeTar({ name: 'a', size: '9x' }), 'malformed', 'size'],
    [
      'a size of more than all files may have',
      madeTar({ name: 'a', size: '\x80\0\0\0\0\0\xff\xff\xff\xff\xff\xff' }),
      'too_large',
      'size',
    ],
    ['a size of 96 bits', madeTar({ name: 'a', size: '\x80\xff\0\0\0\0\0\0\0\0\0\0' }), 'malformed', 'size'],
    ['more bytes claimed than there are', madeTar({ name: 'a', size: '77777777\0' }), 'malformed', 'content'],
    ['no end', madeTar({ name: 'a' }).subarray(0, -1024), 'malformed', 'header'],
    [
      'a record that is longer than its header',
      madeTar({ name: 'x', type: 'x', content: '99 path=/a\n' }),
      'malformed',
      'extension',
    ],
    [
      'a record without a length',
      madeTar({ name: 'x', type: 'x', content: 'path=/a\n' }),
      'malformed',
      'extension',
    ],
    ['a long name of megabytes', madeTar({ name: 'x', type: 'L', size: '77777777\0' }), 'too_large', 'size'],
  ];
  for (const [what, bytes, code, field] of faulty) {
    it(`with ${what} is refused`, async () => {
      await assert.rejects(
        filesOf(bytes, 512),
        (error) => error instanceof Rejection && error.code === code && error.field === field,
      );
    });
  }
});

function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const length = Buffer.byteLength(rest) + 2;
  return `${length}${rest}`;
}

async function filesOf(bytes: Buffer, piece: number, keepUpTo?: number) {
  return Array.fromAsync(readTar(inPieces(bytes, piece), keepUpTo === undefined ? {} : { keepUpTo }));
}

async function* inPieces(bytes: Buffer, piece: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
}
