import { hash } from 'node:crypto';
import { ToolError } from 'node-tpm2/run';
import { parseKeylimeBoot } from '../../../attest-server/cli/offline/foreign/keylime-boot.ts';
import { parsePcrlock, pcrlockComponents } from '../../../attest-server/cli/offline/foreign/pcrlock.ts';
import { readDeb } from '../../../attest-server/cli/offline/runtime/deb.ts';
import { globOfExclude, parseKeylime } from '../../../attest-server/cli/offline/runtime/keylime.ts';
import { parseRpm } from '../../../attest-server/cli/offline/runtime/rpm.ts';
import { readTar } from '../../../attest-server/cli/offline/runtime/tar.ts';
import { asFile } from '../as-file.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isMember, isRejection } from './refusals.ts';

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 3000) yield bytes.subarray(at, at + 3000);
}

async function counted(files: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of files) count++;
  return count;
}

/** Where headers stand, as far as the sizes in them are octal. */
function headersOf(bytes: Buffer): readonly number[] {
  const begins: number[] = [];
  for (let at = 0; at + 512 <= bytes.length; ) {
    begins.push(at);
    const size = Number.parseInt(bytes.toString('latin1', at + 124, at + 135), 8);
    at += 512 + (size > 0 && size < bytes.length ? Math.ceil(size / 512) * 512 : 0);
  }
  return begins;
}

/** Makes checksums right again, else each change of a header would end there; every fourth input is left as it is. */
function sealed(bytes: Buffer): Buffer {
  if (bytes.length % 4 === 3) return bytes;
  const archive = Buffer.from(bytes);
  for (const at of headersOf(archive)) {
    const header = archive.subarray(at, at + 512);
    if (header.every((byte) => byte === 0)) continue;
    header.fill(0x20, 148, 156);
    const sum = header.reduce((all, byte) => all + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
  return archive;
}

export const tar: FuzzedParser = {
  sources: ['attest-server/cli/offline/runtime/tar.ts'],
  form: { kind: 'text', records: headersOf, words: ['path=', 'linkpath=', 'size=', '0000644', 'ustar'] },
  most: 32 * 1024,
  seeds: () => recordings('test/fuzz/seeds/packages/*.tar'),
  parse: (bytes) => counted(readTar(chunksOf(sealed(bytes)), { keepUpTo: 4096 })),
  isDeclared: isRejection,
  isPastHeader: isBeyond(512),
};

export const deb: FuzzedParser = {
  sources: ['attest-server/cli/offline/runtime/deb.ts', 'attest-server/formats/merged-usr.ts'],
  form: {
    kind: 'text',
    words: ['data.tar', 'data.tar.gz', 'data.tar.zst', 'control.tar', 'debian-binary', '`\n'],
  },
  most: 32 * 1024,
  seeds: () => recordings('test/fuzz/seeds/packages/*.deb'),
  parse: (bytes) => counted(readDeb(asFile(bytes))),
  isDeclared: (error) => isRejection(error) || error instanceof ToolError,
  isPastHeader: (error) => error instanceof ToolError || isBeyond(68)(error),
};

export const rpm: FuzzedParser = {
  sources: ['attest-server/cli/offline/runtime/rpm.ts'],
  form: { kind: 'big-endian' },
  most: 32 * 1024,
  // Without its content, which the reader does not take.
  seeds: () =>
    recordings('swtpm-fixtures/recorded/packages/*.rpm').map((bytes) => bytes.subarray(0, endOf(bytes))),
  parse: parseRpm,
  isDeclared: isRejection,
  isPastHeader: isBeyond(96),
};

/** After the second header: rpm's docs/manual/format_v4.md. */
function endOf(bytes: Buffer): number {
  const after = (at: number) => at + 16 + bytes.readUInt32BE(at + 8) * 16 + bytes.readUInt32BE(at + 12);
  const signatures = after(96);
  return after(signatures + ((8 - (signatures % 8)) % 8));
}

/** What Keylime's users have: a policy in JSON, or lines of digest and path. */
export const keylime: FuzzedParser = {
  sources: ['attest-server/cli/offline/runtime/keylime.ts'],
  form: { kind: 'json' },
  most: 32 * 1024,
  seeds: () => [
    Buffer.from(
      JSON.stringify({
        meta: { version: 5, generator: 6 },
        release: 0,
        digests: { '/usr/bin/true': ['ab'.repeat(32)], boot_aggregate: ['cd'.repeat(20)] },
        excludes: ['^/var/lib/.*', '/tmp/.*', 'boot_aggregate'],
        keyrings: { '.ima': ['ef'.repeat(32)] },
        ima: { ignored_keyrings: [], log_hash_alg: 'sha1', dm_policy: null },
        'ima-buf': {},
        'verification-keys': '',
      }),
    ),
    Buffer.from(
      JSON.stringify({ meta: { version: 1 }, release: 0, hashes: { '/usr/bin/true': ['ab'.repeat(32)] } }),
    ),
    Buffer.from(`${'ab'.repeat(32)}  /usr/bin/true\n${'cd'.repeat(20)} /usr/bin/a b\n`),
  ],
  parse: (bytes) => parseKeylime(bytes.toString('utf8')).excludes.map(globOfExclude),
  isDeclared: isRejection,
  isPastHeader: isMember('policy', 'line 1'),
};

/** Keylime's measured boot reference state, as create_mb_refstate writes it. */
export const keylimeBoot: FuzzedParser = {
  sources: ['attest-server/cli/offline/foreign/keylime-boot.ts'],
  form: { kind: 'json' },
  most: 32 * 1024,
  seeds: () => {
    const digest = `0x${'ab'.repeat(32)}`;
    const keys = [{ SignatureOwner: '605dab50-e046-4300-abb6-3dd810dd8b23', SignatureData: '0x3082' }];
    const kernel = {
      shim_authcode_sha256: digest,
      grub_authcode_sha256: digest,
      initrd_plain_sha256: digest,
    };
    const firmware = [
      { scrtm: { sha1: `0x${'cd'.repeat(20)}`, sha256: digest }, platform_firmware: [{ sha256: digest }] },
    ];
    const lists = { pk: keys, kek: keys, db: keys, dbx: keys, vendor_db: [], mokdig: [], mokxdig: [] };
    return [
      { kernels: [{ ...kernel, kernel_authcode_sha256: digest, kernel_cmdline: 'root=/dev/vda\\ ro' }] },
      {
        has_secureboot: false,
        kernels: [{ ...kernel, vmlinuz_plain_sha256: digest, kernel_cmdline: '^ro .*$' }],
      },
    ].map((kernels) => Buffer.from(JSON.stringify({ scrtm_and_bios: firmware, ...lists, ...kernels })));
  },
  parse: (bytes) => parseKeylimeBoot(bytes.toString('utf8')).references.length,
  isDeclared: isRejection,
  isPastHeader: isMember('file'),
};

/** A component of systemd-pcrlock, and what a reference takes of it. */
export const pcrlock: FuzzedParser = {
  sources: ['attest-server/cli/offline/foreign/pcrlock.ts'],
  form: { kind: 'json' },
  most: 32 * 1024,
  seeds: () =>
    [
      [4, 'ab'],
      [11, 'cd'],
    ].map(([pcr, digits]) => {
      const digests = [
        { hashAlg: 'sha1', digest: String(digits).repeat(20) },
        { hashAlg: 'sha256', digest: String(digits).repeat(32) },
      ];
      const separator = [{ hashAlg: 'sha256', digest: hash('sha256', Buffer.alloc(4), 'hex') }];
      return Buffer.from(
        JSON.stringify({
          records: [
            { pcr, digests },
            { pcr, digests: separator },
          ],
        }),
      );
    }),
  parse: (bytes) =>
    pcrlockComponents([{ name: '650-uki', records: parsePcrlock(bytes.toString('utf8')) }]).components.length,
  isDeclared: isRejection,
  isPastHeader: isMember('file'),
};
