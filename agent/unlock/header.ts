import { readSync } from 'node:fs';
import {
  type HeaderChunk,
  type ParsedHeader,
  parseLuksHeader,
} from '../../attest-server/wire/luks-header.ts';

/** Rounds of reading in which a header must be whole. */
const most = 4;

/**
 * The LUKS header at the begin of an open device or file; null if there is none that can be read.
 * @throws what the system throws where the device cannot be read
 */
export function readHeader(fd: number): ParsedHeader | null {
  const chunks: HeaderChunk[] = [];
  for (let round = 0; round <= most; round++) {
    const { header, faults, wants } = parseLuksHeader(chunks, true);
    if (wants.length === 0) return faults.length === 0 ? header : null;
    for (const { at, asked } of wants) {
      const bytes = Buffer.alloc(asked);
      chunks.push({ at, asked, bytes: bytes.subarray(0, readSync(fd, bytes, 0, asked, at)) });
    }
  }
  return null;
}
