import { readHandles, readHasEcc } from './capabilities.ts';
import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** The key that signs quotes. */
export interface LoadedAttestationKey {
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer;
  /** nameAlg || H(public area), hex: as the TPM says it. */
  readonly name: string;
  readonly kind: 'ecc' | 'rsa';
  /** Names the key to tools: a context file in the private folder, or a persistent handle. */
  readonly context: string;
}

/** Without `noda` three power losses in a row would lock the key: see TPM 2.0 Part 1 r1.59, 19.8. */
const attributes = 'restricted|sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda';
/** The same bits in TPMA_OBJECT. */
const attributeBits = 0x00050472;

/** An RSA key takes seconds to make, so it is kept here. */
const rsaHandle = 0x81010100;

/**
 * Makes the attestation key: primary in the endorsement hierarchy from a fixed template, so that the same TPM
 * always gives the same key. ECC P-256; RSA-2048 at a persistent handle where the TPM has no ECC.
 */
export async function createAttestationKey(connection: TpmConnection): Promise<LoadedAttestationKey> {
  try {
    return await createEccKey(connection);
  } catch (error) {
    if (!(error instanceof ToolError) || error.code !== 'failed' || (await readHasEcc(connection)))
      throw error;
    return createRsaKey(connection);
  }
}

async function createEccKey(connection: TpmConnection): Promise<LoadedAttestationKey> {
  const context = connection.file('ak.ctx');
  await createPrimary(connection, 'ecc256:ecdsa-sha256:null', context);
  return readKey(connection, 'ecc', context);
}

/** The key at the persistent handle, made there first where it is missing. */
export async function createRsaKey(connection: TpmConnection): Promise<LoadedAttestationKey> {
  const handle = `0x${rsaHandle.toString(16)}`;
  if (!(await readHandles(connection, 'handles-persistent')).includes(rsaHandle)) {
    const context = connection.file('ak-rsa.ctx');
    await createPrimary(connection, 'rsa2048:rsassa-sha256:null', context);
    await connection.tool('tpm2_evictcontrol', ['-C', 'o', '-c', context, handle], { leavesObject: true });
  }
  const key = await readKey(connection, 'rsa', handle);
  if (key.publicArea.readUInt32BE(4) !== attributeBits)
    throw new ToolError(
      `${handle} holds another key than this package makes: move it (tpm2_evictcontrol -c ${handle})`,
      {
        code: 'failed',
        tool: 'tpm2_readpublic',
      },
    );
  return key;
}

async function createPrimary(connection: TpmConnection, algorithm: string, context: string): Promise<void> {
  const template = ['-C', 'e', '-g', 'sha256', '-G', algorithm, '-a', attributes];
  await connection.tool('tpm2_createprimary', [...template, '-c', context], {
    leavesObject: true,
    slow: true,
  });
}

async function readKey(
  connection: TpmConnection,
  kind: LoadedAttestationKey['kind'],
  context: string,
): Promise<LoadedAttestationKey> {
  const [publicFile, nameFile] = [connection.file('ak.pub'), connection.file('ak.name')];
  await connection.tool('tpm2_readpublic', ['-c', context, '-f', 'tss', '-o', publicFile, '-n', nameFile], {
    leavesObject: true,
  });
  // A TPM2B_PUBLIC, without its size.
  const publicArea = connection.takeFile('ak.pub').subarray(2);
  return { publicArea, name: connection.takeFile('ak.name').toString('hex'), kind, context };
}
