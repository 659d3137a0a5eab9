import { gzipSync, zstdCompressSync } from 'node:zlib';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import {
  type InitrdManifest,
  manifestChunks,
  parseInitrdManifest,
} from '../../../attest-server/formats/initrd-manifest.ts';
import { file, folder, link, mode, type NewcEntry, newc } from '../../../swtpm-fixtures/newc.ts';
import { readInitrd } from '../../attest-server/verify/initrd/read-initrd.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { isMember, isRejection } from './refusals.ts';

const entries: readonly NewcEntry[] = [
  ...[folder('.'), folder('usr'), folder('usr/bin'), link('bin', 'usr/bin'), file('bin/sh', 'sh\n')],
  ...[file('init', '#!/bin/sh\n'), file('conf/arch.conf', 'DPKG_ARCH=amd64\n'), link('lib', '../usr/lib')],
  { name: 'usr/bin/a', inode: 7, links: 2 },
  { name: 'usr/bin/b', inode: 7, links: 2, content: 'both' },
  { name: 'dev/null', mode: mode.character, device: [1, 3] },
  { name: 'summed', magic: '070702', content: 'AB', checksum: 131 },
];
const microcode = newc([folder('kernel'), file('kernel/ucode.bin', 'microcode')]);
const images = [
  newc(entries),
  Buffer.concat([newc(entries.slice(0, 4), { trailer: false }), Buffer.alloc(4), newc(entries)]),
  Buffer.concat([microcode, Buffer.alloc(100), zstdCompressSync(newc(entries))]),
  Buffer.concat([microcode, gzipSync(newc(entries)), Buffer.alloc(3), zstdCompressSync(newc(entries))]),
];

/** Where headers of archives stand that are as they are. */
function headersOf(bytes: Buffer): readonly number[] {
  const begins: number[] = [];
  for (let at = bytes.indexOf('07070'); at >= 0; at = bytes.indexOf('07070', at + 5)) begins.push(at);
  return begins;
}

/** Packs some inputs, else what is changed would mostly be what is packed. */
function image(bytes: Buffer): Buffer {
  const turn = bytes.length % 8;
  return turn === 0 ? gzipSync(bytes) : turn === 1 ? zstdCompressSync(bytes) : bytes;
}

function manifestOf(bytes: Buffer): Promise<InitrdManifest> {
  return readInitrd(image(bytes), { keepsContent: (path) => path.length % 2 === 0 });
}

export const initrd: FuzzedParser = {
  sources: [
    'archived-file',
    'cpio',
    'cpio-header',
    'folders',
    'initrd-reader',
    'listed-entry',
    'magic',
    'packed',
    'root-tree',
    'zstd-frame',
  ].map((name) => `attest-server/verify/initrd/${name}.ts`),
  form: {
    kind: 'text',
    records: headersOf,
    words: ['070701', '070702', 'TRAILER!!!', '../', '#BOOTCONFIG\n'],
  },
  most: 64 * 1024,
  seeds: () => images,
  // What was written of it is read as the same.
  parse: async (bytes) => atOnce(parseInitrdManifest(manifestChunks(await manifestOf(bytes)))),
  isDeclared: () => false,
  isPastHeader: () => false,
};

export const initrdManifest: FuzzedParser = {
  sources: ['attest-server/formats/initrd-manifest.ts'],
  form: { kind: 'text', words: ['"replaced":true', '{"path":"a","mode":0}\n', '["', '"entries":1'] },
  most: 32 * 1024,
  seeds: () => manifests,
  parse: (bytes) => atOnce(parseInitrdManifest([bytes])),
  isDeclared: isRejection,
  isPastHeader: isMember('initrd manifest'),
};

const manifests = await Promise.all(
  images.map(async (bytes) => Buffer.concat([...manifestChunks(await manifestOf(bytes))])),
);
