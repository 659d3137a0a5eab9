import { zstdCompressSync } from 'node:zlib';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import type { InitrdManifest } from '../../../attest-server/formats/initrd-manifest.ts';
import { packManifest, parsePackedManifest } from '../../../attest-server/verify/initrd/packed-manifest.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { isRejection } from './refusals.ts';

const manifest: InitrdManifest = {
  version: 1,
  image: { bytes: 512, sha256: 'ab'.repeat(32), sha384: 'cd'.repeat(48), sha512: 'ef'.repeat(64) },
  archives: [{ offset: 0, compression: 'none', entries: 1 }],
  entries: [{ path: 'init', mode: 0o100755, bytes: 3, sha256: '01'.repeat(32) }],
  contents: {},
  faults: [{ offset: 500, code: 'trailing', text: 'zeros' }],
};

export const packedManifest: FuzzedParser = {
  sources: ['attest-server/verify/initrd/packed-manifest.ts'],
  form: { kind: 'big-endian' },
  most: 4096,
  seeds: () => seeds,
  parse: (bytes) => atOnce(parsePackedManifest(bytes)),
  isDeclared: isRejection,
  isPastHeader: (error) => isRejection(error) && !error.message.includes('unpacked'),
};

/** Some bytes that unpack to many. */
const bomb = zstdCompressSync(Buffer.alloc(3 * 1024 * 1024));
const seeds = [
  await packManifest(manifest),
  await packManifest({ ...manifest, entries: [], faults: [] }),
  Buffer.concat([Buffer.of(0, 0, bomb.length >> 8, bomb.length & 0xff), bomb]),
];
