import { createPublicKey, hash, type KeyObject, sign, verify, type X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { lengthPrefixed } from './binding.ts';

/** An authority of the server's own certificate, as agents are told of it while one follows another. */
export const announcedAuthority = z.strictObject({
  /** PEM of one self-signed certificate. */
  certificate: z.string().max(4096),
  /** By the key of the authority in force, over `authorityStatement`, base64; null for that one itself. */
  signature: z.base64().max(1400).nullable(),
});
export type AnnouncedAuthority = z.infer<typeof announcedAuthority>;

/** All that an installation has: the one in force first, then the one that follows or went before it. */
export const announcedAuthorities = z.array(announcedAuthority).min(1).max(2);

/** The authorities that an agent trusts: `authorityDigest` of each. */
export const trustedAuthorities = z.array(z.string().regex(/^[0-9a-f]{64}$/)).max(8);

/** SHA-256 of the SubjectPublicKeyInfo, DER, hex: what a join token names. */
export function authorityDigest({ publicKey }: X509Certificate): string {
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'hex');
}

/** Base64: the word of one authority for the one that follows it. */
export function vouchForAuthority(next: X509Certificate, by: KeyObject): string {
  return sign(digestFor(createPublicKey(by)), authorityStatement(next), by).toString('base64');
}

export function isAuthorityVouchedFor(next: X509Certificate, signature: string, by: KeyObject): boolean {
  return verify(digestFor(by), authorityStatement(next), by, Buffer.from(signature, 'base64'));
}

/** P("assay/authority/1") P(certificate, DER): nothing that this key signs elsewhere begins so. */
function authorityStatement(next: X509Certificate): Buffer {
  return lengthPrefixed([Buffer.from('assay/authority/1'), next.raw]);
}

/** Keys of Edwards curves hash by themselves. */
function digestFor({ asymmetricKeyType }: KeyObject): string | null {
  return asymmetricKeyType === 'ed25519' || asymmetricKeyType === 'ed448' ? null : 'sha256';
}
