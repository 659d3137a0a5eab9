import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { event, header, noAction, separator } from './log-builder.ts';

/** By recording: what an event says to a person, by its index. */
const recorded: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  'fedora41-locality-3': {
    14: 'KEK: 2 certificates (Lenovo Ltd. KEK CA 2012; Microsoft Corporation KEK CA 2011)',
    16: 'dbx: 2 certificates, 458 digests (Canonical Ltd. Secure Boot Signing; Debian Secure Boot Signer)',
    28: 'Boot0000: Fedora (\\EFI\\fedora\\shimx64.efi)',
    49: 'handoff tables: SMBIOS 3',
    51: 'partition table of disk 79ac79fb-f286-4728-8e0d-68114f67364a: EFI System Partition, unnamed, unnamed',
    53: 'MokList',
    56: 'MokListTrusted',
    120: '(hd3,gpt2)/initramfs-6.11.5-300.fc41.x86_64.img',
  },
  'debian13-shim-grub': {
    1: '2025.02-8+deb13u1',
    4: 'SecureBoot = 01',
    14: 'BootOrder: 0001, 0000',
    25: 'db: C=US, ST=Washington, L=Redmond, O=Microsoft Corporation, CN=Microsoft Corporation UEFI CA 2011',
    30: 'SbatLevel: sbat,1,2025021800; shim,4; grub,5',
    32: 'MokListRT: CN=Debian Secure Boot CA',
    33: '\\EFI\\BOOT\\grubx64.efi',
    36: 'grub_cmd: set timeout=0',
    48: 'Exit Boot Services Returned with Success',
  },
  'debian13-efistub': {
    15: 'Boot0000: Debian EFI stub (\\EFI\\debian\\vmlinuz.efi)',
    28: '\\EFI\\debian\\vmlinuz.efi',
    29: 'LOADED_IMAGE::LoadOptions',
  },
  'debian13-sdboot-uki': {
    28: 'loader.conf',
    29: '\\EFI\\Linux\\debian.efi',
    31: '.linux',
    35: '.cmdline',
    44: 'Linux initrd',
  },
  'tdx-ccel': {
    1: 'handoff tables TdxTable: 93bb96af-b9f2-4eb8-9462-e0ba74564236',
    12: 'kernel',
  },
  'sha1-tpm12': { 13: 'Boot0004: SEITEC Edge OS (\\EFI\\boot\\bootx64.efi)' },
  'windows-fewer-digests': {
    19: 'Boot0000: Windows Boot Manager (\\EFI\\Microsoft\\Boot\\bootmgfw.efi)',
    44: 'tag 0x40010001, 240 bytes',
    55: 'separator 5742434c (WBCL)',
  },
};

describe('what an event says to a person', () => {
  for (const [name, events] of Object.entries(recorded))
    it(`is readable in ${name}`, () => {
      const log = parseEventLog(recordedLog(name));
      const described = Object.keys(events).map((index) => [index, log.events[Number(index)]?.describes]);
      assert.deepEqual(Object.fromEntries(described), events);
    });

  const banks = ['sha256'] as const;
  const spdm = Buffer.concat([Buffer.from('SPDM Device Sec\0'), Buffer.alloc(40, 1)]);
  const made: readonly (readonly [string, number, number, Buffer, string, string])[] = [
    ['an H-CRTM event', 0, 0x80000010, Buffer.from('HCRTM'), 'EV_EFI_HCRTM_EVENT', 'HCRTM'],
    [
      'a separator of firmware that failed',
      0,
      separator,
      Buffer.from('01000000', 'hex'),
      'EV_SEPARATOR',
      'separator 01000000 (error)',
    ],
    [
      'an event of a dynamic launch',
      17,
      0x404,
      Buffer.alloc(32),
      '0x00000404',
      'Intel TXT MLE_HASH, 32 bytes',
    ],
    ['an event of Secure Launch', 18, 0x502, Buffer.alloc(4), '0x00000502', 'Secure Launch, 4 bytes'],
    [
      'a device that proves itself by SPDM',
      2,
      0x800000e1,
      spdm,
      'EV_EFI_SPDM_FIRMWARE_BLOB',
      'firmware of a device by SPDM, 56 bytes',
    ],
    ['an event of a maker of its own', 1, 0x80123456, Buffer.alloc(9, 1), '0x80123456', '9 bytes'],
    [
      'a startup locality',
      0,
      noAction,
      Buffer.from('StartupLocality\0\x04'),
      'EV_NO_ACTION',
      'StartupLocality 4',
    ],
    [
      'a boot option cut off',
      1,
      0x80000002,
      variable('Boot0001', '0100'),
      'EV_EFI_VARIABLE_BOOT',
      'Boot0001 = 0100',
    ],
    ['a partition table that lies', 5, 0x80000006, gpt(9), 'EV_EFI_GPT_EVENT', 'partition table, 228 bytes'],
    [
      'a partition table',
      5,
      0x80000006,
      gpt(1),
      'EV_EFI_GPT_EVENT',
      'partition table of disk 04030201-0605-0807-090a-0b0c0d0e0f10: root',
    ],
    [
      'handoff tables that lie',
      1,
      0x80000009,
      Buffer.alloc(9, 1),
      'EV_EFI_HANDOFF_TABLES',
      'handoff tables, 9 bytes',
    ],
  ];
  for (const [what, pcr, type, data, name, describes] of made)
    it(`names ${what}`, () => {
      const log = parseEventLog(Buffer.concat([header(banks), event(pcr, type, data, banks)]));
      assert.deepEqual([log.events[1]?.type, log.events[1]?.describes], [name, describes]);
    });
});

function variable(name: string, valueHex: string): Buffer {
  const value = Buffer.from(valueHex, 'hex');
  const lengths = Buffer.alloc(16);
  lengths.writeBigUInt64LE(BigInt(name.length));
  lengths.writeBigUInt64LE(BigInt(value.length), 8);
  return Buffer.concat([Buffer.alloc(16), lengths, Buffer.from(name, 'utf16le'), value]);
}

/** A table that says it has `count` partitions, and has one. */
function gpt(count: number): Buffer {
  const data = Buffer.alloc(228);
  data.write('EFI PART', 0);
  for (let i = 0; i < 16; i++) data[56 + i] = i + 1;
  data.writeUInt32LE(128, 84);
  data.writeUInt32LE(count, 92);
  data.write('root', 100 + 56, 'utf16le');
  return data;
}
