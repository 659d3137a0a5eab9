import { zstdCompress, zstdDecompressSync } from 'node:zlib';
import { type InitrdManifest, manifestBytes, parseInitrdManifest } from '../../protocol/initrd-manifest.ts';
import { limits } from '../../protocol/limits.ts';
import { Rejection } from '../../protocol/rejection.ts';

/** Bytes that are unpacked: for each packed one, beyond the first. */
const most = { short: 1024 * 1024, ratio: 256 };

/** A manifest as it is kept, and travels in a bundle. @throws Rejection `too_large` for one that could not be read again */
export async function packManifest(manifest: InitrdManifest): Promise<Buffer> {
  const bytes = manifestBytes(manifest);
  const packed = await new Promise<Buffer>((resolve, reject) =>
    zstdCompress(bytes, (error, all) => (error === null ? resolve(all) : reject(error))),
  );
  if (bytes.length > mostOf(packed)) throw tooLarge(`a manifest of an initrd of ${bytes.length} bytes`);
  return packed;
}

/** @throws Rejection `malformed`, `too_large` */
export function parsePackedManifest(packed: Buffer): InitrdManifest {
  return parseInitrdManifest(unpacked(packed));
}

/** Attack: a bundle with some bytes that unpack to a gigabyte. */
function unpacked(packed: Buffer): Buffer {
  try {
    return zstdDecompressSync(packed, { maxOutputLength: mostOf(packed) });
  } catch (cause) {
    const text = 'the packed manifest of an initrd cannot be unpacked';
    if (cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE')
      throw tooLarge(text, cause);
    throw new Rejection('malformed', text, { field: 'files', cause });
  }
}

function mostOf(packed: Buffer): number {
  return Math.min(limits.initrd.unpackedManifest, most.short + most.ratio * packed.length);
}

function tooLarge(text: string, cause?: unknown): Rejection {
  return new Rejection('too_large', text, { field: 'files', cause });
}
