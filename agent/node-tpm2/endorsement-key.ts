import { readHandles } from './capabilities.ts';
import {
  chainIndices,
  type EkProfile,
  ekProfiles,
  highRangeAttributes,
  highRangePolicies,
} from './ek-profile.ts';
import { readNvCertificate } from './nv.ts';
import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** The key that says which TPM this is. */
export interface LoadedEndorsementKey {
  readonly kind: 'rsa' | 'ecc';
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer;
  /** From NV, DER; null if the manufacturer put none there. */
  readonly certificate: Buffer | null;
  /** Certificates of the manufacturer's authorities from NV, DER. */
  readonly chain: readonly Buffer[];
  /** The persistent handle; null if the key was made from its template. */
  readonly handle: number | null;
  /** Names the key to tools: a context file in the private folder, or a persistent handle. */
  readonly context: string;
  readonly profile: EkProfile;
}

/**
 * The endorsement key whose certificate is in NV, RSA before ECC; from its persistent handle where it is there,
 * else made from its template. A TPM without any certificate gives the first key that it has or can make.
 * @throws ToolError `no_endorsement_key`
 */
export async function readEndorsementKey(connection: TpmConnection): Promise<LoadedEndorsementKey> {
  const indices = await readHandles(connection, 'handles-nv-index');
  for (const profile of ekProfiles) {
    if (!indices.includes(profile.certificate)) continue;
    const certificate = await readNvCertificate(connection, profile.certificate);
    if (certificate === null) continue;
    const key = await findKey(connection, profile, (candidate) => isCertified(candidate, certificate));
    if (key === null) continue;
    return { ...key, certificate, chain: await readChain(connection, indices) };
  }
  for (const profile of ekProfiles.slice(0, 2)) {
    const key = await findKey(connection, profile, isDecryptionKey);
    if (key !== null) return { ...key, certificate: null, chain: [] };
  }
  throw new ToolError('this TPM gives no endorsement key: its endorsement hierarchy may be switched off', {
    code: 'no_endorsement_key',
    tool: 'tpm2_createek',
  });
}

type BareKey = Omit<LoadedEndorsementKey, 'certificate' | 'chain'>;

async function findKey(
  connection: TpmConnection,
  profile: EkProfile,
  fits: (publicArea: Buffer) => boolean,
): Promise<BareKey | null> {
  const persistent = await readPersistent(connection, profile);
  if (persistent !== null && fits(persistent.publicArea)) return persistent;
  const made = await createFromTemplate(connection, profile);
  return made !== null && fits(made.publicArea) ? made : null;
}

async function readPersistent(connection: TpmConnection, profile: EkProfile): Promise<BareKey | null> {
  const context = `0x${profile.handle.toString(16)}`;
  const publicArea = await orNull(
    connection.tool('tpm2_readpublic', ['-c', context, '-f', 'tss', '-o', connection.file('ek.pub')]),
    ['TPM_RC_HANDLE'],
  ).then((done) => (done === null ? null : connection.takeFile('ek.pub')));
  if (publicArea === null) return null;
  return { kind: profile.kind, publicArea: publicArea.subarray(2), handle: profile.handle, context, profile };
}

async function createFromTemplate(connection: TpmConnection, profile: EkProfile): Promise<BareKey | null> {
  const context = connection.file('ek.ctx');
  const output = ['-c', context, '-f', 'tss'];
  const publicFile = connection.file('ek.pub');
  const made = await orNull(
    profile.range === 'low'
      ? connection.tool('tpm2_createek', ['-G', profile.algorithm, ...output, '-u', publicFile], makesKey)
      : connection.tool(
          'tpm2_createprimary',
          [
            ...['-C', 'e', '-g', profile.nameAlg, '-G', profile.algorithm, '-a', highRangeAttributes],
            ...[
              '-L',
              connection.putFile('ek.policy', Buffer.from(highRangePolicies[profile.nameAlg].b, 'hex')),
            ],
            ...[...output, '-o', publicFile],
          ],
          makesKey,
        ),
    // The TPM lacks this algorithm, curve or size.
    [
      'TPM_RC_CURVE',
      'TPM_RC_VALUE',
      'TPM_RC_ASYMMETRIC',
      'TPM_RC_SYMMETRIC',
      'TPM_RC_TYPE',
      'TPM_RC_KEY_SIZE',
      'TPM_RC_HASH',
    ],
  );
  if (made === null) return null;
  const publicArea = connection.takeFile('ek.pub').subarray(2);
  return { kind: profile.kind, publicArea, handle: null, context, profile };
}

const makesKey = { leavesObject: true, slow: true } as const;

async function readChain(connection: TpmConnection, indices: readonly number[]): Promise<Buffer[]> {
  const chain: Buffer[] = [];
  for (const index of indices.toSorted((a, b) => a - b)) {
    if (index < chainIndices.first || index > chainIndices.last) continue;
    const certificate = await readNvCertificate(connection, index);
    if (certificate !== null) chain.push(certificate);
  }
  return chain;
}

/** TPMA_OBJECT restricted and decrypt: a persistent handle may hold any key. */
function isDecryptionKey(publicArea: Buffer): boolean {
  return publicArea.length > 10 && (publicArea.readUInt32BE(4) & 0x00030000) === 0x00030000;
}

/** Whether the certificate carries the key's modulus or x coordinate. The server checks the certificate itself. */
function isCertified(publicArea: Buffer, certificate: Buffer): boolean {
  const unique = isDecryptionKey(publicArea) ? readUnique(publicArea) : Buffer.alloc(0);
  return unique.length >= 32 && certificate.includes(unique);
}

/** The modulus (RSA) or the x coordinate (ECC) of a TPMT_PUBLIC of an endorsement key (Part 2 r1.59, 12.2.4). */
function readUnique(publicArea: Buffer): Buffer {
  const isRsa = publicArea.readUInt16BE(0) === 0x0001;
  const policyBytes = publicArea.readUInt16BE(8);
  // symmetric (three 16-bit fields), scheme, then keyBits and exponent (RSA), or curve and kdf (ECC).
  const at = 10 + policyBytes + 6 + 2 + (isRsa ? 6 : 4);
  if (at + 2 > publicArea.length) return Buffer.alloc(0);
  return publicArea.subarray(at + 2, at + 2 + publicArea.readUInt16BE(at));
}

async function orNull<T>(work: Promise<T>, names: readonly string[]): Promise<T | null> {
  return work.catch((error: unknown) => {
    if (error instanceof ToolError && error.responseName && names.includes(error.responseName)) return null;
    throw error;
  });
}
