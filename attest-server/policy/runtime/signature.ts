import { hash } from 'node:crypto';
import type { EvmFields, ImaEntry } from '../../verify/ima/proven-list.ts';
import { parseAppendedSignature } from './appended-signature.ts';
import type { PreparedKeys } from './signer-keys.ts';

/**
 * Which of the keys signed what an entry measured: by `security.ima` (of the bytes, or of the fs-verity digest), by a portable
 * `security.evm` where the template is evm-sig, or by what is appended to the file (ima-modsig). Null: none of them did, or it
 * cannot be determined. Some 40 µs with an RSA key, 200 µs with one over P-256, and some milliseconds over a greater curve.
 * @returns the key's name
 */
export function signedBy(entry: ImaEntry, keys: PreparedKeys): string | null {
  if (entry.isViolation || keys.size === 0) return null;
  const { evm, signature, appended } = entry;
  return (
    (evm === null ? null : portableSigner(entry, evm, keys)) ??
    (signature === null ? null : imaSigner(signature, entry, keys)) ??
    (appended === null ? null : appendedSigner(appended, keys))
  );
}

type MeasuredFile = Pick<ImaEntry, 'kind' | 'algorithm' | 'digest'>;

/** First bytes of extended attributes: enum evm_ima_xattr_type, security/integrity/integrity.h of Linux 6.12. */
const xattr = { imaSignature: 0x03, imaDigest: 0x04, evmPortable: 0x05, veritySignature: 0x06 } as const;

/** enum hash_algo, include/uapi/linux/hash_info.h. Attack: SHA-1, of which somebody may have made two files. */
const algorithms: ReadonlyMap<number, string> = new Map([
  [4, 'sha256'],
  [5, 'sha384'],
  [6, 'sha512'],
]);
const digestBytes: Readonly<Record<string, number>> = { sha256: 32, sha384: 48, sha512: 64 };

function imaSigner(
  value: Buffer,
  { kind, algorithm, digest }: MeasuredFile,
  keys: PreparedKeys,
): string | null {
  const signature = parseSignature(value);
  if (signature?.algorithm !== algorithm || digestBytes[algorithm] !== digest.length) return null;
  const { type, version } = signature;
  if (type === xattr.imaSignature && version === 2 && kind === 'ima')
    return signerOf(digest, signature, keys);
  if (type !== xattr.veritySignature || version !== 3 || kind !== 'verity') return null;
  // Attack: a digest of fs-verity that is taken for one of bytes. struct ima_file_id tells them apart.
  const fileId = Buffer.concat([Buffer.from([type, signature.algorithmId]), digest]);
  return signerOf(hash(algorithm, fileId, 'buffer'), signature, keys);
}

/** security/integrity/evm/evm_crypto.c, evm_calc_hmac_or_hash, as a kernel of 64 bit and little-endian does it. */
function portableSigner(
  measured: MeasuredFile,
  { signature: value, attributes, uid, gid, mode }: EvmFields,
  keys: PreparedKeys,
): string | null {
  const signature = parseSignature(value);
  if (signature?.type !== xattr.evmPortable || signature.version !== 2) return null;
  const [ima, ...others] = attributes.filter(({ name }) => name === 'security.ima');
  // It is over metadata alone: what says which bytes the file has is security.ima.
  if (ima === undefined || others.length > 0 || !vouchesFor(ima.value, measured, keys)) return null;
  const inode = Buffer.alloc(24);
  inode.writeUInt32LE(uid, 12);
  inode.writeUInt32LE(gid, 16);
  inode.writeUInt16LE(mode, 20);
  const signed = Buffer.concat([...attributes.map((attribute) => attribute.value), inode]);
  return signerOf(hash(signature.algorithm, signed, 'buffer'), signature, keys);
}

function vouchesFor(value: Buffer, measured: MeasuredFile, keys: PreparedKeys): boolean {
  if (value[0] !== xattr.imaDigest) return imaSigner(value, measured, keys) !== null;
  return (
    measured.kind === 'ima' &&
    algorithms.get(value[1] ?? 0) === measured.algorithm &&
    value.subarray(2).equals(measured.digest)
  );
}

function appendedSigner(
  { signature, algorithm, digest }: NonNullable<ImaEntry['appended']>,
  keys: PreparedKeys,
): string | null {
  const parsed = parseAppendedSignature(signature);
  if (parsed?.algorithm !== algorithm || digestBytes[algorithm] !== digest.length) return null;
  // It names a certificate, which need not be given: each key is tried.
  const all = new Set([...keys.values()].flat());
  return [...all].find(({ verifies }) => verifies(algorithm, digest, parsed.bytes))?.name ?? null;
}

interface ImaSignature {
  readonly type: number;
  readonly version: number;
  readonly algorithm: string;
  readonly algorithmId: number;
  readonly keyId: number;
  readonly bytes: Buffer;
}

const headerBytes = 9;

/** struct signature_v2_hdr, security/integrity/integrity.h; null for what is none, or by a hash that is not taken. */
function parseSignature(value: Buffer): ImaSignature | null {
  if (value.length <= headerBytes || value.readUInt16BE(7) !== value.length - headerBytes) return null;
  const [type = 0, version = 0, algorithmId = 0] = value;
  const algorithm = algorithms.get(algorithmId);
  if (algorithm === undefined) return null;
  const [keyId, bytes] = [value.readUInt32BE(3), value.subarray(headerBytes)];
  return { type, version, algorithm, algorithmId, keyId, bytes };
}

/** The key's id only says which keys are tried: who signs chooses it. */
function signerOf(
  digest: Buffer,
  { algorithm, keyId, bytes }: ImaSignature,
  keys: PreparedKeys,
): string | null {
  const found = keys.get(keyId)?.find(({ verifies }) => verifies(algorithm, digest, bytes));
  return found?.name ?? null;
}
