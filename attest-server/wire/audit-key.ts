import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { Rejection } from './rejection.ts';

/** How many keys of one installation travel to agents; the pinned one must be among them. */
export const auditKeysKept = 16;

/** One key that signs checkpoints, and the word of the key before it: `null` for the first. */
export const auditKey = z.strictObject({
  /** Ed25519, the raw 32 bytes, base64. */
  publicKey: z.base64().length(44),
  /** By the key before, over the bytes of `rotationStatement`, base64. */
  signature: z.base64().length(88).nullable(),
});
export type AuditKey = z.infer<typeof auditKey>;

/** Oldest first; the last one signs now. What an agent is sent. */
export const auditKeys = z.array(auditKey).min(1).max(auditKeysKept);
/** All keys that an installation ever had. */
export const auditKeyHistory = z.array(auditKey).min(1).max(1024);

/** Whose keys these are: an installation begins a new origin where it lost its key. */
export interface AuditOrigin {
  /** `assay/<installation>` */
  readonly origin: string;
  readonly keys: readonly AuditKey[];
}

export function signRotation(origin: string, publicKey: string, by: KeyObject): AuditKey {
  const signature = sign(null, rotationStatement(origin, publicKey), by).toString('base64');
  return { publicKey, signature };
}

/**
 * Follows the rotations from a key that is trusted to the one that signs now.
 * @param trusted base64; null trusts the first of the list
 * @returns the raw public keys, from the trusted one on
 * @throws Rejection `sig_invalid` if the trusted key is not among them or a link is broken
 */
export function followRotations(
  origin: string,
  keys: readonly AuditKey[],
  trusted: string | null,
): readonly Buffer[] {
  const start = trusted === null ? 0 : keys.findIndex(({ publicKey }) => publicKey === trusted);
  const first = keys[start];
  if (first === undefined)
    throw new Rejection('sig_invalid', 'the audit key known so far is not among those that are shown');
  const followed = [Buffer.from(first.publicKey, 'base64')];
  for (const { publicKey, signature } of keys.slice(start + 1)) {
    const by = ed25519Key(followed.at(-1) ?? Buffer.alloc(0));
    const said = Buffer.from(signature ?? '', 'base64');
    if (!verify(null, rotationStatement(origin, publicKey), by, said))
      throw new Rejection('sig_invalid', 'an audit key is not signed by the one before it');
    followed.push(Buffer.from(publicKey, 'base64'));
  }
  return followed;
}

/** @throws Rejection `malformed` if these are not the 32 bytes of a key */
export function ed25519Key(raw: Buffer): KeyObject {
  if (raw.length !== 32)
    throw new Rejection('malformed', 'an audit key has 32 bytes', { field: 'publicKey' });
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') };
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch (cause) {
    throw new Rejection('malformed', 'an audit key is no Ed25519 key', { field: 'publicKey', cause });
  }
}

function rotationStatement(origin: string, publicKey: string): Buffer {
  return Buffer.from(`assay/audit-key/1\n${origin}\n${publicKey}\n`);
}
