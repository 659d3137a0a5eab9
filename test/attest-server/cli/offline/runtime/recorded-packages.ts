import { join } from 'node:path';

/** One that rpmbuild made (swtpm-fixtures/recorded/SOURCES.md). */
export const recordedRpm = join(
  import.meta.dirname,
  '../../../../../swtpm-fixtures/recorded/packages/assay-example-1.2-3.noarch.rpm',
);

/** Lead and headers of it, as `parseRpm` takes them. */
export function withoutContent(rpm: Buffer): Buffer {
  const main = Math.ceil(endOf(rpm, 96) / 8) * 8;
  return rpm.subarray(0, endOf(rpm, main));
}

function endOf(rpm: Buffer, at: number): number {
  return at + 16 + rpm.readUInt32BE(at + 8) * 16 + rpm.readUInt32BE(at + 12);
}
