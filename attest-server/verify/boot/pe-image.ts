import { createHash } from 'node:crypto';
import type { PcrBank } from '../../wire/messages.ts';
import { Cursor } from '../tpm/cursor.ts';
import { peHeaders } from './pe-headers.ts';

/** Magic of the optional header -> how many bytes of it stand before the number of its data directories. */
const bytesBeforeDirectories: ReadonlyMap<number, number> = new Map([
  [0x010b, 92],
  [0x020b, 108],
]);
/** Offsets within the optional header that both forms share. */
const sizeOfHeadersAt = 60;
const checksumAt = 64;

const directoryBytes = 8;
/** Index of the data directory that says where the signatures lie. */
const certificateTable = 4;

/** Bytes of the file from `start` up to `end`. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * The Authenticode digest of a PE image in each bank: what firmware extends PCR 4 and PCR 2 with. The file is hashed
 * without its checksum, its signatures and where they lie; its sections in the order in which they lie in the file.
 * Windows Authenticode Portable Executable Signature Format, 1.0; PC Client PFP 1.06, section 3.3.4.5.
 * @param bytes the whole file
 * @returns hex, by bank
 * @throws Rejection `malformed` with field and offset, for what is no PE image or lies about its lengths
 */
export function authenticodeDigests(
  bytes: Buffer,
  banks: readonly PcrBank[],
): Readonly<Partial<Record<PcrBank, string>>> {
  const spans = hashedSpans(bytes);
  const digests: Partial<Record<PcrBank, string>> = {};
  for (const bank of banks) {
    const digest = createHash(bank);
    for (const { start, end } of spans) digest.update(bytes.subarray(start, end));
    digests[bank] = digest.digest('hex');
  }
  return digests;
}

function hashedSpans(bytes: Buffer): readonly Span[] {
  const { sectionCount, optionalAt, optional, sectionTable } = peHeaders(bytes);
  const { headers, headerBytes, certificateBytes } = headerSpans(optional, optionalAt, bytes.length);
  const sections = sectionSpans(sectionTable, sectionCount, headerBytes, bytes.length);
  const hashed = sections.reduce((sum, { start, end }) => sum + end - start, headerBytes);
  // What follows the sections is hashed too, up to the signatures at the end.
  const end = bytes.length - certificateBytes;
  if (hashed > end)
    throw sectionTable.fault(
      'certificateTable',
      `${certificateBytes} bytes of signatures reach into the sections`,
    );
  return [...headers, ...sections, { start: hashed, end }];
}

interface ImageHeaders {
  readonly headers: readonly Span[];
  readonly headerBytes: number;
  readonly certificateBytes: number;
}

function headerSpans(optional: Buffer, optionalAt: number, fileBytes: number): ImageHeaders {
  const fields = new Cursor(optional, 'little');
  const before = bytesBeforeDirectories.get(fields.u16('magic'));
  if (before === undefined)
    throw fields.fault('magic', 'the optional header is neither PE32 nor PE32+', optionalAt);
  fields.skip(sizeOfHeadersAt - fields.offset, 'optionalHeader');
  const headerBytes = fields.u32('sizeOfHeaders');
  fields.skip(before - fields.offset, 'optionalHeader');
  const directories = fields.u32('numberOfRvaAndSizes');
  const checksum = optionalAt + checksumAt;
  const afterChecksum = checksum + 4;
  if (headerBytes > fileBytes || headerBytes < optionalAt + optional.length)
    throw fields.fault(
      'sizeOfHeaders',
      `the headers take ${headerBytes} bytes`,
      optionalAt + sizeOfHeadersAt,
    );
  if (directories <= certificateTable) {
    const headers = [
      { start: 0, end: checksum },
      { start: afterChecksum, end: headerBytes },
    ];
    return { headers, headerBytes, certificateBytes: 0 };
  }
  fields.skip(certificateTable * directoryBytes + 4, 'dataDirectories');
  const certificateBytes = fields.u32('certificateTable.size');
  const entryEnd = optionalAt + fields.offset;
  const headers = [
    { start: 0, end: checksum },
    { start: afterChecksum, end: entryEnd - directoryBytes },
    { start: entryEnd, end: headerBytes },
  ];
  return { headers, headerBytes, certificateBytes };
}

/** The sections that lie in the file. Together they are no more than the file, or hashing would never end. */
function sectionSpans(table: Cursor, count: number, headerBytes: number, fileBytes: number): readonly Span[] {
  const spans: Span[] = [];
  let hashed = headerBytes;
  for (let i = 0; i < count; i++) {
    table.skip(16, 'sectionHeader');
    const size = table.u32('sizeOfRawData');
    const start = table.u32('pointerToRawData');
    table.skip(16, 'sectionHeader');
    hashed += size;
    if (start + size > fileBytes || hashed > fileBytes)
      throw table.fault('sizeOfRawData', `section ${i} reaches past the end of the file`);
    if (size > 0) spans.push({ start, end: start + size });
  }
  return spans.sort((a, b) => a.start - b.start);
}
