import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { checkPrivateFile, preparePrivateFolder } from '../state/private-file.ts';
import { parsed } from '../state/whole-file.ts';
import { type AnnouncedAuthority, authorityDigest } from '../wire/authority.ts';
import { tlsOfListeners } from '../wire/tls.ts';
import type { Authorities, AuthorityKeys, RotationStage } from './ports.ts';
import { isDue, isFor, makeCertificate, readCertificate } from './server-certificate.ts';

/** The server's own authority and certificate, PEM. One authority per installation, never shared. */
export interface ServerIdentity {
  /** The authority in force. */
  readonly ca: string;
  /** File of all authorities: two while one follows another. */
  readonly caFile: string;
  /** SHA-256 of the authority's SubjectPublicKeyInfo, DER, in hex: what a join token carries. */
  readonly caDigest: string;
  /** Leaf first, then the authority. */
  readonly chain: string;
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  /** Until when the one was good whose place it has just taken; null if it was there, or is the first. */
  readonly replaced: number | null;
  /** Of the authority in force. Milliseconds since the epoch. */
  readonly authorityNotAfter: number;
  readonly stage: RotationStage;
  /** All authorities as announced to agents, the active one first. */
  readonly authorities: readonly AnnouncedAuthority[];
}

/**
 * Reads the authority, and the server's certificate from the state folder; makes what is missing, and renews the
 * server's certificate when its names or its authority changed, or it is due.
 * @param names host names and addresses under which agents reach the server
 * @throws Error for a folder or key that is open to others; CertificateFault where only the new certificate failed
 */
export async function ensureIdentity(
  stateDir: string,
  keys: AuthorityKeys,
  names: readonly string[],
  now: number,
): Promise<ServerIdentity> {
  const dir = tlsFolder(stateDir);
  preparePrivateFolder(dir);
  checkPrivateFile(join(dir, 'server.key'));
  const found = await keys.read();
  const { caFile } = keys;
  const authority = parsed(caFile, 'bring back a copy', () => new X509Certificate(found.inForce));
  const kept = await readCertificate(dir);
  const read = kept === null ? null : new X509Certificate(kept.certificate);
  // One of an authority that was replaced, by this server or another one, is no certificate of ours.
  const old = read?.verify(authority.publicKey) === true ? read : null;
  const usable = kept !== null && old !== null && isFor(old, names) ? kept : null;
  if (usable !== null && old !== null && !isDue(old, authority, now))
    return identityOf(dir, caFile, found, usable, null);
  try {
    await makeCertificate(dir, keys, names, authority, now);
  } catch (cause) {
    // Better one that ended, of which everybody says so, than no server that could say why.
    throw new CertificateFault(cause, usable && identityOf(dir, caFile, found, usable, null));
  }
  const made = await readCertificate(dir);
  if (made === null) throw new Error(`${dir}: the certificate is gone again`);
  return identityOf(dir, caFile, found, made, old?.validToDate.getTime() ?? null);
}

/** The certificate of the server could not be made. */
export class CertificateFault extends Error {
  override readonly name = 'CertificateFault';
  /** With the one that is due; null if there is none that can be shown. */
  readonly kept: ServerIdentity | null;

  constructor(cause: unknown, kept: ServerIdentity | null) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.kept = kept;
  }
}

function identityOf(
  dir: string,
  caFile: string,
  found: Authorities,
  { certificate, key }: { readonly certificate: string; readonly key: string },
  replaced: number | null,
): ServerIdentity {
  const authority = new X509Certificate(found.inForce);
  const leaf = new X509Certificate(certificate);
  const chain = `${certificate}${found.inForce}`;
  checkUsable(dir, caFile, chain, key);
  return {
    ca: found.inForce,
    caFile,
    caDigest: authorityDigest(authority),
    chain,
    key,
    notAfter: leaf.validToDate.getTime(),
    replaced,
    authorityNotAfter: authority.validToDate.getTime(),
    stage: found.stage,
    authorities: announcement(found),
  };
}

/** OpenSSL refuses keys that are too short, and says nothing of the file. @throws Error */
function checkUsable(dir: string, caFile: string, cert: string, key: string): void {
  try {
    createSecureContext({ cert, key, ...tlsOfListeners });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `${caFile} and ${join(dir, 'server.crt')} cannot be used for TLS (${why}): take an authority with an RSA key of 2048 bits or more, ECDSA on P-256 to P-521, or Ed25519, and remove server.crt`,
      { cause },
    );
  }
}

/** Whether another certificate is to be made. @param now milliseconds since the epoch */
export function isRenewalDue({ chain, ca }: ServerIdentity, now: number): boolean {
  return isDue(new X509Certificate(chain), new X509Certificate(ca), now);
}

export function tlsFolder(stateDir: string): string {
  return join(stateDir, 'tls');
}

function announcement({ inForce, other, signature }: Authorities): readonly AnnouncedAuthority[] {
  const first = { certificate: new X509Certificate(inForce).toString(), signature: null };
  return other === null ? [first] : [first, { certificate: other, signature }];
}
