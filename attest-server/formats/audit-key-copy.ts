import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import {
  type AuditKey,
  type AuditOrigin,
  auditKey,
  auditKeyHistory,
  ed25519Key,
  followRotations,
} from '../wire/audit-key.ts';

/** The content of `audit.key` in the state folder. The file is a secret: whoever has it can rewrite the audit log. */
export const auditKeyFile = z.strictObject({
  version: z.literal(1),
  installation: z.string().regex(/^[0-9a-f]{32}$/),
  keys: auditKeyHistory,
  /** PKCS #8, PEM. */
  privateKey: z.string().max(512),
});

/** Shows that a copy of the audit key is there, and can sign. The private key stays where the copy is. */
export const auditKeyCopy = z.strictObject({
  /** The public key of the copy, raw, base64. */
  publicKey: auditKey.shape.publicKey,
  /** By the copy over the bytes of `copyStatement`, base64. */
  signature: auditKey.shape.signature.unwrap(),
});
export type AuditKeyCopy = z.infer<typeof auditKeyCopy>;

/**
 * @param text of a file `audit.key`
 * @returns null if it is none, or one that no server would start with. Nothing of it may be repeated
 */
export function showCopy(text: string): AuditKeyCopy | null {
  try {
    const { installation, keys, privateKey: pem } = auditKeyFile.parse(JSON.parse(text));
    const privateKey = createPrivateKey(pem);
    const publicKey = rawOf(createPublicKey(privateKey)).toString('base64');
    if (keys.at(-1)?.publicKey !== publicKey) return null;
    const origin = `assay/${installation}`;
    followRotations(origin, keys, null);
    const statement = copyStatement(origin, publicKey);
    return { publicKey, signature: sign(null, statement, privateKey).toString('base64') };
  } catch {
    return null;
  }
}

/** Why this shows no copy of the key that signs now; null if it does. */
export function faultOfCopy(
  { origin, keys }: AuditOrigin,
  { publicKey, signature }: AuditKeyCopy,
): string | null {
  const known = keys.findIndex((key) => key.publicKey === publicKey);
  if (known < 0) return 'it is the key of another installation';
  if (known < keys.length - 1) return 'it is a key that was replaced since: copy audit.key again';
  const by = ed25519Key(Buffer.from(publicKey, 'base64'));
  const isGood = verify(null, copyStatement(origin, publicKey), by, Buffer.from(signature, 'base64'));
  return isGood ? null : 'its signature is wrong';
}

/** The raw bytes of an Ed25519 public key. @throws Error if it is none */
export function rawOf(key: KeyObject): Buffer {
  const { x } = key.export({ format: 'jwk' });
  if (key.asymmetricKeyType !== 'ed25519' || x === undefined) throw new Error('it is no Ed25519 key');
  return Buffer.from(x, 'base64url');
}

/** Begins unlike a checkpoint and the word on a rotation, which the same key signs. */
function copyStatement(origin: string, publicKey: AuditKey['publicKey']): Buffer {
  return Buffer.from(`assay/audit-key-copy/1\n${origin}\n${publicKey}\n`);
}
