import { peSections } from '../../../attest-server/cli/offline/compute/pe-sections.ts';
import { unifiedComponents } from '../../../attest-server/cli/offline/compute/unified.ts';
import { environmentLines, rewritesOf } from '../../../attest-server/verify/boot/environment-block.ts';
import { fileContent } from '../../../attest-server/verify/boot/file-content.ts';
import { authenticodeDigests } from '../../../attest-server/verify/boot/pe-image.ts';
import {
  devicePathFile,
  efiImage,
  efiVariable,
  variableValue,
} from '../../../attest-server/verify/tpm/efi-structures.ts';
import { eventBytes, parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { grubLine, kernelLine } from '../../../attest-server/verify/tpm/grub-text.ts';
import { handoffTables } from '../../../attest-server/verify/tpm/handoff-tables.ts';
import { loadOption } from '../../../attest-server/verify/tpm/load-option.ts';
import { partitionTable } from '../../../attest-server/verify/tpm/partition-table.ts';
import { signatureDataEntry } from '../../../attest-server/verify/tpm/signature-data.ts';
import { signatureEntries } from '../../../attest-server/verify/tpm/signature-list.ts';
import { variableText } from '../../../attest-server/verify/tpm/variable-text.ts';
import { namedPe } from '../../attest-server/cli/offline/compute/named-pe.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

const never = () => false;

/** Images of kernels and loaders, of which a reference is computed. */
export const peImage: FuzzedParser = {
  sources: [
    'attest-server/verify/boot/pe-headers.ts',
    'attest-server/verify/boot/pe-image.ts',
    ...['pe-sections', 'stub-archive', 'unified', 'load-options'].map(
      (name) => `attest-server/cli/offline/compute/${name}.ts`,
    ),
  ],
  form: { kind: 'little-endian' },
  most: 64 * 1024,
  seeds: () => {
    const kernel = namedPe({ '.text': Buffer.alloc(0x200, 0x90) });
    const sections = {
      '.sdmagic': Buffer.from('#### LoaderInfo: systemd-stub 257.1 ####'),
      '.osrel': Buffer.from('ID=debian\n'),
      '.cmdline': Buffer.from('root=/dev/vda ro'),
      '.initrd': Buffer.from('an initrd'),
      '.pcrsig': Buffer.from('{}'),
      '.linux': kernel,
    };
    return [kernel, namedPe(sections), namedPe(sections, false)];
  },
  parse: (bytes) => {
    authenticodeDigests(bytes, ['sha256']);
    peSections(bytes);
    return unifiedComponents(bytes, 'fuzzed.efi');
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(64),
};

/** Files of a loader, told apart by their bytes. */
export const loaderFile: FuzzedParser = {
  sources: ['attest-server/verify/boot/file-content.ts', 'attest-server/verify/boot/environment-block.ts'],
  form: { kind: 'little-endian', words: ['FILE', 'PFF2', '.modname', '.module_license', 'HdrS'] },
  most: 32 * 1024,
  seeds: () => [
    ...recordings('swtpm-fixtures/recorded/?*/grub.cfg', 'test/fuzz/seeds/files/grubenv'),
    Buffer.concat([
      Buffer.from('FILE\0\0\0\x04PFF2NAME\0\0\0\x08Unknown\0FAMI\0\0\0\x04Uni\0', 'latin1'),
      Buffer.from('DATA\xff\xff\xff\xff0123456789', 'latin1'),
    ]),
    grubModule(),
  ],
  parse: (bytes) => {
    const lines = environmentLines(bytes);
    const rewrites = lines === null ? [] : [...rewritesOf(lines, ['0', 'gnulinux-simple'])];
    return [fileContent(bytes), rewrites.length];
  },
  isDeclared: never,
  isPastHeader: never,
};

/** A relocatable ELF object with the sections of a module of GRUB. System V ABI, "Object Files". */
function grubModule(): Buffer {
  const names = '\0.shstrtab\0.modname\0.module_license\0';
  const bytes = Buffer.alloc(64 + names.length + 4 * 64);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(1, 16);
  bytes.writeBigUInt64LE(BigInt(64 + names.length), 40);
  for (const [at, value] of [
    [58, 64],
    [60, 4],
    [62, 1],
  ] as const)
    bytes.writeUInt16LE(value, at);
  bytes.write(names, 64, 'latin1');
  for (const [section, name] of [0, 1, 11, 20].entries()) {
    const at = 64 + names.length + section * 64;
    bytes.writeUInt32LE(name, at);
    bytes.writeBigUInt64LE(64n, at + 24);
    bytes.writeBigUInt64LE(BigInt(section === 1 ? names.length : 4), at + 32);
  }
  return bytes;
}

const variables = ['SecureBoot', 'BootOrder', 'Boot0000', 'db', 'SbatLevel', 'Shim', 'MokListTrusted'];

/** What stands in events of a log: variables, boot entries, lists of signatures, device paths, lines of GRUB. */
export const efiStructures: FuzzedParser = {
  sources: [
    'efi-structures',
    'handoff-tables',
    'load-option',
    'partition-table',
    'signature-data',
    'signature-list',
    'variable-text',
    'grub-text',
    'shown-text',
  ].map((name) => `attest-server/verify/tpm/${name}.ts`),
  form: { kind: 'little-endian' },
  most: 16 * 1024,
  seeds: () => {
    const logs = recordings('swtpm-fixtures/recorded/*/binary_bios_measurements').filter(
      ({ length }) => length < 40_000,
    );
    const data = logs.flatMap((bytes) => {
      const log = parseEventLog(bytes);
      return log.events.map(({ index }) => Buffer.from(eventBytes(log, index)));
    });
    return [...new Map(data.map((bytes) => [bytes.toString('latin1'), bytes])).values()].filter(
      ({ length }) => length > 0,
    );
  },
  parse: (bytes) => {
    const variable = efiVariable(bytes);
    const value = variableValue(bytes, 0, bytes.length) ?? bytes;
    const image = efiImage(bytes);
    devicePathFile(bytes);
    const line = grubLine(bytes.toString('utf8'));
    for (const one of [value, bytes]) {
      loadOption(one);
      partitionTable(one);
      for (const entry of signatureEntries(one) ?? []) void [entry.subject, entry.digest];
      void signatureDataEntry(one).subject;
      for (const name of variables) variableText(name, one, name === 'Shim');
    }
    return [variable, image, handoffTables(bytes), line && kernelLine(line)];
  },
  isDeclared: never,
  isPastHeader: never,
};
