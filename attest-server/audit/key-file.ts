import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { existsSync } from 'node:fs';
import { auditKeyFile, rawOf } from '../formats/audit-key-copy.ts';
import { readPrivate, writePrivate } from '../state/private-file.ts';
import { type AuditKey, followRotations, signRotation } from '../wire/audit-key.ts';
import { jsonOrNothing } from '../wire/parse-json.ts';

/** Who signs the checkpoints of one installation. The file is a secret: whoever has it can rewrite the audit log. */
export interface AuditSigner {
  /** `assay/<installation>` */
  readonly origin: string;
  /** Oldest first; the last one signs. */
  readonly keys: readonly AuditKey[];
  /** Of the last key, raw. */
  readonly publicKey: Buffer;
  readonly privateKey: KeyObject;
}

/**
 * Reads the key file, or null where there is none.
 * @throws Error where it is damaged, open to others, or its private key is not that of the last public one
 */
export function readSigner(path: string): AuditSigner | null {
  if (!existsSync(path)) return null;
  try {
    const value = jsonOrNothing(readPrivate(path));
    // The error of JSON.parse repeats a piece of the file, in which the private key stands.
    if (value === undefined) throw new Error('it is not JSON');
    const { installation, keys, privateKey } = auditKeyFile.parse(value);
    const signer = signerOf(installation, keys, createPrivateKey(privateKey));
    if (signer.keys.at(-1)?.publicKey !== signer.publicKey.toString('base64'))
      throw new Error('its private key is not that of its last public key');
    followRotations(signer.origin, keys, null);
    return signer;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the audit key ${path} cannot be used: ${why}. Restore it from its backup`, { cause });
  }
}

/** Makes an installation and its first key. @throws Error where the file exists */
export function createSigner(path: string): AuditSigner {
  const signer = newSigner();
  saveNewSigner(path, signer);
  return signer;
}

/** An origin of its own and its first key, in memory. */
export function newSigner(): AuditSigner {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const first = { publicKey: rawOf(publicKey).toString('base64'), signature: null };
  return signerOf(randomBytes(16).toString('hex'), [first], privateKey);
}

/** @throws Error where the file exists */
export function saveNewSigner(path: string, signer: AuditSigner): void {
  writePrivate(path, fileOf(installationOf(signer), signer), 'new');
}

/** Makes the next key, signed by the one before it; that one is gone when this returns. */
export function rotateSigner(path: string, signer: AuditSigner): AuditSigner {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const next = signRotation(signer.origin, rawOf(publicKey).toString('base64'), signer.privateKey);
  const keys = [...signer.keys, next];
  const installation = installationOf(signer);
  const rotated = signerOf(installation, keys, privateKey);
  writePrivate(path, fileOf(installation, rotated), 'replace');
  return rotated;
}

function signerOf(installation: string, keys: readonly AuditKey[], privateKey: KeyObject): AuditSigner {
  return { origin: `assay/${installation}`, keys, publicKey: rawOf(createPublicKey(privateKey)), privateKey };
}

function installationOf({ origin }: AuditSigner): string {
  return origin.slice('assay/'.length);
}

function fileOf(installation: string, { keys, privateKey }: AuditSigner): string {
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return `${JSON.stringify({ version: 1, installation, keys, privateKey: pem })}\n`;
}
