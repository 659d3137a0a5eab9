import { zstdCompress, zstdDecompressSync } from 'node:zlib';
import { type InitrdManifest, manifestChunks, parseInitrdManifest } from '../../formats/initrd-manifest.ts';
import { limits } from '../../wire/limits.ts';
import { Rejection } from '../../wire/rejection.ts';

/** Bytes of one block, unpacked: some lines of 256 KiB, or one that holds a file of 1 MiB. */
const most = 2 * 1024 * 1024;
/** Before each block: how many bytes it has. */
const prefix = 4;

/**
 * A manifest as it is kept, and travels in a bundle: blocks of whole lines, each a frame of zstd behind its length (32 bits,
 * big-endian), so that it is read in steps. @throws Rejection `too_large` for more than is kept of one
 */
export async function packManifest(manifest: InitrdManifest): Promise<Buffer> {
  const packed: Buffer[] = [];
  let size = 0;
  for (const chunk of manifestChunks(manifest)) {
    const block = await compress(chunk);
    const length = Buffer.alloc(prefix);
    length.writeUInt32BE(block.length);
    size += prefix + block.length;
    if (size > limits.initrd.manifest)
      throw tooLarge(`what is in it takes more than ${limits.initrd.manifest} bytes`);
    packed.push(length, block);
  }
  return Buffer.concat(packed);
}

/** In steps of some milliseconds. @throws Rejection `malformed`, `too_large` */
export function parsePackedManifest(packed: Buffer): Generator<void, InitrdManifest> {
  return parseInitrdManifest(blocksOf(packed));
}

function compress(chunk: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) =>
    zstdCompress(chunk, (error, block) => (error === null ? resolve(block) : reject(error))),
  );
}

function* blocksOf(packed: Buffer): Generator<Buffer> {
  for (let at = 0; at < packed.length; ) {
    const begin = at + prefix;
    const end = begin > packed.length ? Number.POSITIVE_INFINITY : begin + packed.readUInt32BE(at);
    if (end > packed.length) throw malformed('ends early', at);
    yield unpacked(packed.subarray(begin, end), begin);
    at = end;
  }
}

/** Attack: a bundle with some bytes that unpack to a gigabyte. */
function unpacked(block: Buffer, offset: number): Buffer {
  try {
    return zstdDecompressSync(block, { maxOutputLength: most });
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE')
      throw tooLarge('the packed manifest of an initrd has a block that is too long', cause);
    throw malformed('cannot be unpacked', offset, cause);
  }
}

function malformed(what: string, offset: number, cause?: unknown): Rejection {
  const text = `the packed manifest of an initrd ${what}`;
  return new Rejection('malformed', text, { field: 'files', offset, cause });
}

function tooLarge(text: string, cause?: unknown): Rejection {
  return new Rejection('too_large', text, { field: 'files', cause });
}
