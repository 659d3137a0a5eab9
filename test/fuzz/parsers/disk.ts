import { hash } from 'node:crypto';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseBootIndex } from '../../../agent/inspect/boot-index.ts';
import { parseCrypttab } from '../../../agent/inspect/detached-headers.ts';
import { parseInspectedFile } from '../../../agent/inspect/inspected-file.ts';
import { parseKeyResidue } from '../../../agent/inspect/key-residue.ts';
import { parseMappingTables } from '../../../agent/inspect/mapping-tables.ts';
import { parseSwaps } from '../../../agent/inspect/swaps.ts';
import { parseTarget } from '../../../attest-server/policy/disk/crypt-target.ts';
import { judgeDisk } from '../../../attest-server/policy/disk/judge-disk.ts';
import { luksVolume } from '../../../attest-server/policy/disk/luks-metadata.ts';
import { defaultDiskRules } from '../../../attest-server/policy/disk/rules.ts';
import { parseDiskPart } from '../../../attest-server/wire/disk.ts';
import { parseInstalled } from '../../../attest-server/wire/installed.ts';
import { mountFinder, parseMountTable } from '../../../attest-server/wire/mount-table.ts';
import { parsedBytes } from '../../agent/inspect/made-machine.ts';
import { diskPartOfFolder } from '../../recorded/disk-folder.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isMember, isRejection } from './refusals.ts';

const nodes = 'swtpm-fixtures/recorded-nodes/disk/*';
const never = () => false;

export const mountTable: FuzzedParser = {
  sources: ['attest-server/wire/mount-table.ts', 'attest-server/wire/protected-mounts.ts'],
  form: { kind: 'text', words: ['\\040', '\\134', '\\011', '\\012', 'shared:1', 'master:2', 'overlay'] },
  most: 64 * 1024,
  seeds: () => recordings(`${nodes}/mountinfo.txt`),
  parse: (bytes) => {
    const table = parseMountTable(bytes);
    const find = mountFinder(table);
    return ['/', '/var/lib/docker', '/var/lib/kubelet/pods/a/volumes', '/a/b/c'].map(find);
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(64),
};

const root = join(import.meta.dirname, '../../..');
const parts = await Promise.all(
  globSync(`${nodes}/mountinfo.txt`, { cwd: root })
    .sort()
    .map(async (name) => Buffer.from(JSON.stringify(await diskPartOfFolder(join(root, dirname(name)))))),
);

/** The part as it is judged: mounts, layers of devices, mappings and headers. */
export const diskPart: FuzzedParser = {
  sources: [
    'attest-server/wire/disk.ts',
    'attest-server/wire/mount-table.ts',
    ...['judge-disk', 'layers', 'luks-metadata', 'crypt-target', 'crypt-findings'].map(
      (name) => `attest-server/policy/disk/${name}.ts`,
    ),
  ],
  form: { kind: 'json' },
  most: 64 * 1024,
  seeds: () => parts,
  parse: (bytes) =>
    judgeDisk(
      parseDiskPart(bytes),
      defaultDiskRules,
      { isDemanded: true, volumes: [], revoked: new Map() },
      new Map(),
    ),
  isDeclared: isRejection,
  isPastHeader: isMember('disk'),
};

export const luksMetadata: FuzzedParser = {
  sources: ['attest-server/policy/disk/luks-metadata.ts'],
  form: { kind: 'json' },
  most: 32 * 1024,
  seeds: () => recordings(`${nodes}/luksDump-*.json`).filter(({ length }) => length > 0),
  parse: (bytes) => {
    const header = {
      device: '254:0',
      detachedAt: null,
      version: 2,
      uuid: 'A',
      digest: null,
      luks1: null,
    } as const;
    const found = luksVolume({ ...header, metadata: bytes.toString('utf8') });
    if ('fault' in found) throw new Fault(found.fault);
    return found;
  },
  isDeclared: (error) => error instanceof Fault,
  isPastHeader: (error) => error instanceof Fault && /field/.test(error.message),
};

/** What a parser says that gives its fault as a value. */
class Fault extends Error {}

/** The begin of a device. The checksum of each copy is made right again, else it would end each look. */
export const luksHeader: FuzzedParser = {
  sources: ['attest-server/wire/luks-header.ts'],
  form: { kind: 'big-endian' },
  most: 64 * 1024,
  seeds: () => recordings('test/fuzz/seeds/luks-header/*'),
  parse: (bytes) => {
    const device = Buffer.from(bytes);
    if (device[0] !== 0x00) for (const at of [0, 0x4000, 0x8000]) sealCopy(device, at);
    const { header, faults } = parsedBytes(device, bytes.length % 2 === 0);
    if (header === null) throw new Fault(faults.join('; '));
    return header;
  },
  isDeclared: (error) => error instanceof Fault,
  isPastHeader: (error) => error instanceof Fault && /header/.test(error.message),
};

/** LUKS2 On-Disk Format 1.1.3, section 2.1: SHA-256 over binary header and JSON area, the checksum itself being zeros. */
function sealCopy(device: Buffer, at: number): void {
  if (device.length < at + 512 || device.readUInt16BE(at + 6) !== 2) return;
  const size = Number(device.readBigUInt64BE(at + 8) & 0xff_ffffn);
  if (size < 512 || at + size > device.length) return;
  const area = device.subarray(at, at + size);
  area.fill(0, 448, 512);
  hash('sha256', area, 'buffer').copy(area, 448);
}

/** Lines of live mapping tables, to the agent and to the policy. */
export const mappingTables: FuzzedParser = {
  sources: ['agent/inspect/mapping-tables.ts', 'attest-server/policy/disk/crypt-target.ts'],
  form: {
    kind: 'text',
    words: ['crypt', 'integrity', 'verity', 'default-key', 'cipher_null-ecb', ':64:logon:x'],
  },
  most: 32 * 1024,
  seeds: () => recordings(`${nodes}/dmsetup-table.txt`).filter(({ length }) => length > 0),
  parse: (bytes) => {
    const text = bytes.toString('latin1');
    const names = [...new Set(text.split('\n').map((line) => line.split(': ', 1)[0] ?? ''))].slice(0, 64);
    const { tables } = parseMappingTables(text, names);
    return [...tables.values()].flat().map(parseTarget);
  },
  isDeclared: never,
  isPastHeader: never,
};

/** What the agent reads of /proc and /etc besides: swaps, keys, crypttab. */
export const hostTables: FuzzedParser = {
  sources: ['swaps', 'key-residue', 'detached-headers'].map((name) => `agent/inspect/${name}.ts`),
  form: { kind: 'text' },
  most: 32 * 1024,
  seeds: () => [
    ...recordings(`${nodes}/swaps.txt`, 'test/fuzz/seeds/files/keys', 'test/fuzz/seeds/files/crypttab'),
  ],
  parse: (bytes) => {
    const volume = new Set(['0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0']);
    const found = [
      parseKeyResidue(bytes, volume, new Set(['luks-named'])),
      parseCrypttab(bytes.toString('utf8')),
    ];
    return [...found, parseSwaps(bytes)];
  },
  isDeclared: (error) => error instanceof RangeError && error.message.startsWith('/proc/swaps'),
  isPastHeader: never,
};

/** What lies ready for the next boot. */
export const installed: FuzzedParser = {
  sources: ['attest-server/wire/installed.ts'],
  form: { kind: 'json' },
  most: 8 * 1024,
  seeds: () => [
    Buffer.from(
      JSON.stringify({
        version: 1,
        files: [
          {
            kind: 'kernel',
            path: 'boot/vmlinuz-6.12.48',
            since: '2026-11-25T00:00:00.000Z',
            booted: false,
            digests: ['ab'.repeat(32), 'cd'.repeat(48)],
          },
        ],
        unread: ['no initrd was found'],
      }),
    ),
  ],
  parse: parseInstalled,
  isDeclared: isRejection,
  isPastHeader: isMember('installed'),
};

/** What `inspect` leaves for the agent. */
export const inspectedFiles: FuzzedParser = {
  sources: ['agent/inspect/inspected-file.ts', 'agent/inspect/boot-index.ts'],
  form: { kind: 'json' },
  most: 64 * 1024,
  seeds: () => [
    ...parts.slice(0, 12).map((part) => {
      const { inspected, devices } = parseDiskPart(part);
      const tables = Object.fromEntries(
        devices.flatMap(({ device, mapping }) => (mapping?.table == null ? [] : [[device, mapping.table]])),
      );
      return Buffer.from(JSON.stringify({ version: 1, inspected, tables, tablesUnread: null }));
    }),
    Buffer.from(
      JSON.stringify({
        version: 1,
        at: '2026-11-25T00:00:00Z',
        files: [
          {
            path: 'boot/grub/grub.cfg',
            kind: 'loader',
            bytes: 100,
            sha256: 'ab'.repeat(32),
            sha384: 'ab'.repeat(48),
            sha512: 'ab'.repeat(64),
            copied: true,
            identity: null,
          },
        ],
        unread: ['boot/efi is no file system that is known'],
      }),
    ),
  ],
  parse: (bytes) => (bytes.includes('"files"') ? parseBootIndex(bytes) : parseInspectedFile(bytes)),
  isDeclared: isRejection,
  isPastHeader: isMember('disk.json', 'index.json'),
};
