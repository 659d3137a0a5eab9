import { X509Certificate } from 'node:crypto';
import type { Bundle } from '../../protocol/bundle.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { checkEndorsement } from '../../verify/endorsement.ts';

/**
 * Checks the endorsement of a bundle; with roots, also that one of them vouches for its certificate. Gives the
 * digest of the endorsement key, null where the bundle has none.
 * @throws Rejection `ek_untrusted_root`, and those of `checkEndorsement`
 */
export function checkEndorsementOf(
  { endorsement }: Bundle,
  roots: readonly string[] | null,
  at: number,
): string | null {
  const der = endorsement?.certificate ? Buffer.from(endorsement.certificate, 'base64') : null;
  const chain = (endorsement?.chain ?? []).map((link) => Buffer.from(link, 'base64'));
  const known = endorsement?.publicArea
    ? checkEndorsement({
        publicArea: Buffer.from(endorsement.publicArea, 'base64'),
        certificate: der,
        chain,
      })
    : null;
  if (roots === null || endorsement === undefined) return known?.digest ?? null;
  if (der === null || known === null)
    throw untrusted('the bundle has no endorsement certificate with its key, so no root can vouch for it');
  checkChain(parse(der), chain.map(parse), roots.map(parse), at);
  return known.digest;
}

const longestChain = 8;

function checkChain(
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  at: number,
): void {
  let current = leaf;
  for (let depth = 0; depth < longestChain; depth++) {
    checkTime(current, at);
    const subject = current;
    if (roots.some((root) => root.raw.equals(subject.raw) || isIssuedBy(subject, root))) return;
    const issuer = chain.find((candidate) => isIssuedBy(subject, candidate) && candidate !== subject);
    if (issuer === undefined) break;
    current = issuer;
  }
  throw untrusted('no given root vouches for the endorsement certificate');
}

function isIssuedBy(subject: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

function checkTime(certificate: X509Certificate, at: number): void {
  if (at >= certificate.validFromDate.getTime() && at <= certificate.validToDate.getTime()) return;
  throw untrusted('a certificate of the endorsement was not valid at that time');
}

function parse(certificate: Buffer | string): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch (cause) {
    throw new Rejection('malformed', 'a certificate of the endorsement cannot be read', {
      field: 'endorsement',
      cause,
    });
  }
}

function untrusted(text: string): Rejection {
  return new Rejection('ek_untrusted_root', text, { field: 'endorsement.certificate' });
}
