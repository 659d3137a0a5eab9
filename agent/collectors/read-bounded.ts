import { type FileHandle, open } from 'node:fs/promises';

/**
 * A file's bytes; null if it does not exist. Files of the kernel tell no size, so it is read to its end.
 * @throws RangeError if it is longer than `most`; the signal's reason; what the file system throws
 */
export async function readBounded(path: string, most: number, signal?: AbortSignal): Promise<Buffer | null> {
  const file = await openIfThere(path);
  if (file === null) return null;
  try {
    const chunks: Buffer[] = [];
    let size = 0;
    for (;;) {
      signal?.throwIfAborted();
      const chunk = Buffer.allocUnsafe(Math.min(65_536, most + 1 - size));
      const { bytesRead } = await file.read(chunk, 0, chunk.length);
      if (bytesRead === 0) return Buffer.concat(chunks, size);
      chunks.push(chunk.subarray(0, bytesRead));
      size += bytesRead;
      if (size > most) throw new RangeError(`${path} is longer than ${most} bytes`);
    }
  } finally {
    await file.close();
  }
}

/** Null if it does not exist. @throws what the file system throws */
export async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return null;
    throw error;
  }
}
