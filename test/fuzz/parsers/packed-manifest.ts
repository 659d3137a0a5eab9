import { zstdCompressSync } from 'node:zlib';
import { type InitrdManifest, manifestBytes } from '../../../attest-server/protocol/initrd-manifest.ts';
import { parsePackedManifest } from '../../../attest-server/verify/initrd/packed-manifest.ts';
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
  seeds: () => [
    zstdCompressSync(manifestBytes(manifest)),
    zstdCompressSync(manifestBytes({ ...manifest, entries: [], faults: [] })),
    // Some bytes that unpack to many.
    zstdCompressSync(Buffer.alloc(49 * 1024 * 1024)),
  ],
  parse: parsePackedManifest,
  isDeclared: isRejection,
  isPastHeader: (error) => isRejection(error) && !error.message.includes('unpacked'),
};
