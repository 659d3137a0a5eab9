import { open } from 'node:fs/promises';
import { CloudFault } from './lookup.ts';

const bytes = 16_384;

/** A token that somebody keeps in a file, such as the kubelet. @throws CloudFault */
export async function readSecretFile(path: string): Promise<string> {
  try {
    await using file = await open(path);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(bytes + 1), 0, bytes + 1, 0);
    const text = buffer.toString('latin1', 0, bytesRead).trim();
    // It goes into a header.
    if (bytesRead <= bytes && /^[\x21-\x7e]+$/.test(text)) return text;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new CloudFault(`the token file ${path} cannot be read (${code})`, { cause: error });
  }
  throw new CloudFault(`the file ${path} holds no token`);
}
