import { guidText } from './efi-structures.ts';

/** Tables that firmware leaves for the operating system. UEFI 2.10, section 4.6.1. */
const tableNames: Readonly<Record<string, string>> = {
  'eb9d2d30-2d88-11d3-9a16-0090273fc14d': 'ACPI 1.0',
  '8868e871-e4f1-11d3-bc22-0080c73c8881': 'ACPI 2.0',
  'eb9d2d31-2d88-11d3-9a16-0090273fc14d': 'SMBIOS',
  'f2fd1544-9794-4a2c-992e-e5bbcf20e394': 'SMBIOS 3',
};

const entryBytes = 24;

/** The tables that UEFI_HANDOFF_TABLE_POINTERS names; null if the lengths do not fit. PC Client PFP 1.06, section 10.2.5. */
export function handoffTables(data: Buffer): readonly string[] | null {
  if (data.length < 8) return null;
  const count = Number(data.readBigUInt64LE(0));
  if (count * entryBytes !== data.length - 8) return null;
  return Array.from({ length: count }, (_, index) => {
    const at = 8 + index * entryBytes;
    const guid = guidText(data.subarray(at, at + 16));
    return tableNames[guid] ?? guid;
  });
}
