import { type Bank, banks } from './pcrs.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** A TPM's report about itself (TPM 2.0 Part 2 r1.59, 6.13 and 10.10). */
export interface Capabilities {
  /** The registered vendor id, up to four letters, for example `IFX` or `IBM`. */
  readonly manufacturer: string;
  /** 16 hex digits, as quotes carry it. */
  readonly firmwareVersion: string;
  /** Banks in which at least one PCR is allocated. */
  readonly banks: readonly Bank[];
  /** Whether the TPM has the curve P-256. */
  readonly hasEcc: boolean;
}

export async function readCapabilities(connection: TpmConnection): Promise<Capabilities> {
  const fixed = await readCapability(connection, 'properties-fixed');
  const allocated = await readCapability(connection, 'pcrs');
  return {
    manufacturer: Buffer.from(rawProperty(fixed, 'TPM2_PT_MANUFACTURER'), 'hex')
      .toString('latin1')
      .replace(/[^\x21-\x7e]/g, ''),
    firmwareVersion:
      rawProperty(fixed, 'TPM2_PT_FIRMWARE_VERSION_1') + rawProperty(fixed, 'TPM2_PT_FIRMWARE_VERSION_2'),
    banks: banks.filter((bank) => new RegExp(`- ${bank}: \\[ *\\d`).test(allocated)),
    hasEcc: await readHasEcc(connection),
  };
}

/** Whether the TPM has the curve P-256. */
export async function readHasEcc(connection: TpmConnection): Promise<boolean> {
  return /^TPM2_ECC_NIST_P256:/m.test(await readCapability(connection, 'ecc-curves'));
}

/** Handles or index numbers of one kind. */
export async function readHandles(
  connection: TpmConnection,
  kind: 'handles-nv-index' | 'handles-persistent',
): Promise<readonly number[]> {
  const text = await readCapability(connection, kind);
  return [...text.matchAll(/^- 0x([0-9a-f]{1,8})$/gim)].map((found) => Number.parseInt(found[1] ?? '', 16));
}

async function readCapability(connection: TpmConnection, name: string): Promise<string> {
  return (await connection.tool('tpm2_getcap', [name])).stdout.toString('latin1');
}

/** Eight hex digits. */
function rawProperty(text: string, name: string): string {
  const found = new RegExp(`^${name}:\\s+raw: 0x([0-9A-Fa-f]{1,8})\\s`, 'm').exec(text);
  return (found?.[1] ?? '').toLowerCase().padStart(8, '0');
}
