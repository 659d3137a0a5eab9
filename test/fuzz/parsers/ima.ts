import { parseImaList, subjectOf } from '../../../attest-server/verify/ima/ima-list.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

/** Where entries begin: PCR, digest of 20 bytes, the template's name and its data, each with its size. */
function entriesOf(bytes: Buffer): readonly number[] {
  const begins: number[] = [];
  for (let at = 0; at + 32 <= bytes.length; ) {
    const name = bytes.readUInt32LE(at + 24);
    const data = at + 28 + name;
    if (data + 4 > bytes.length) break;
    const end = data + 4 + bytes.readUInt32LE(data);
    if (end > bytes.length) break;
    begins.push(at);
    at = end;
  }
  return begins;
}

export const imaBinary: FuzzedParser = {
  sources: ['attest-server/verify/ima/ima-list.ts'],
  form: { kind: 'little-endian', records: entriesOf },
  most: 64 * 1024,
  seeds: () => recordings('swtpm-fixtures/recorded/*/binary_runtime_measurements'),
  parse: (bytes) => parseImaList(bytes).map(subjectOf),
  isDeclared: isRejection,
  isPastHeader: isBeyond(32),
};
