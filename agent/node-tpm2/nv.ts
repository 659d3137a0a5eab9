import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** A certificate from an NV index, DER; null if the index holds none. */
export async function readNvCertificate(connection: TpmConnection, index: number): Promise<Buffer | null> {
  const name = `0x${index.toString(16).padStart(8, '0')}`;
  await connection.tool('tpm2_nvread', [name, '-o', connection.file('nv.bin')]).catch((error: unknown) => {
    // Reserved but never written.
    if (!(error instanceof ToolError) || error.responseName !== 'TPM_RC_NV_UNINITIALIZED') throw error;
    return connection.putFile('nv.bin', Buffer.alloc(0));
  });
  return cutDer(connection.takeFile('nv.bin'));
}

/** One DER SEQUENCE at the start of `bytes`, without the padding that fills an NV index; null if there is none. */
export function cutDer(bytes: Buffer): Buffer | null {
  const first = bytes[1];
  if (bytes[0] !== 0x30 || first === undefined) return null;
  const lengthBytes = first & 0x80 ? first & 0x7f : 0;
  if (lengthBytes > 3 || first === 0x80 || bytes.length < 2 + lengthBytes) return null;
  const content = lengthBytes === 0 ? first : bytes.readUIntBE(2, lengthBytes);
  const end = 2 + lengthBytes + content;
  return end <= bytes.length ? bytes.subarray(0, end) : null;
}
