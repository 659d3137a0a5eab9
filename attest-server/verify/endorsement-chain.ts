import { hash, type KeyObject } from 'node:crypto';
import { Rejection } from '../wire/rejection.ts';
import { type Certificate, publicKeyOf } from './x509/certificate.ts';

/** Whom an operator trusts to endorse TPMs, by subject. A root is trusted as a name with a key, not as a file. */
export interface TrustRoots {
  /** SHA-256 over all of them, hex: others have another one. */
  readonly digest: string;
  readonly roots: ReadonlyMap<string, readonly Certificate[]>;
  /** Authorities below them that TPMs do not carry along; they are trusted only as far as a root vouches for them. */
  readonly intermediates: ReadonlyMap<string, readonly Certificate[]>;
}

export function trustRoots(roots: readonly Certificate[], intermediates: readonly Certificate[]): TrustRoots {
  const bySubject = (list: readonly Certificate[]) => Map.groupBy(list, ({ subjectName }) => subjectName.key);
  const all = [roots, intermediates].map((list) => list.map(({ digest }) => digest).sort());
  return {
    digest: hash('sha256', JSON.stringify(all), 'hex'),
    roots: bySubject(roots),
    intermediates: bySubject(intermediates),
  };
}

/** tcg-kp-EKCertificate, 2.23.133.8.1: TCG EK Credential Profile 2.5, section 3.2.16. */
const ekCertificate = '6781050801';

/** md2WithRSAEncryption and md5WithRSAEncryption: anybody can make two certificates with one signature. */
const brokenSignatures: readonly string[] = ['2a864886f70d010102', '2a864886f70d010104'];

/**
 * Bounds on the work that a peer can cause: certificates that it sends, authorities in a row, signatures that are checked, and
 * by which keys. All TPM makers' authorities of today keep to it.
 */
const most = { sent: 8, depth: 6, signatures: 16, keyBits: 4096, exponent: 65537n } as const;
const leastKeyBits = 2048;

/**
 * Finds a path from an endorsement certificate to a root, over the authorities that came with it and those that are
 * configured. Nothing is fetched: addresses in certificates are not even read. A root's own dates are not judged, as
 * TPMs outlive them; neither is revocation.
 * @param checks told of each signature before it is checked
 * @param at the moment at which everything below the root must be valid, milliseconds since the epoch
 * @returns the path: the certificate itself first, the root last
 * @throws Rejection `ek_untrusted_root` if there is none, `malformed` for too many certificates
 */
export function checkEndorsementChain(
  certificate: Certificate,
  sent: readonly Certificate[],
  trust: TrustRoots,
  at: number,
  checks: () => void = () => {},
): readonly Certificate[] {
  if (sent.length > most.sent)
    throw new Rejection(
      'malformed',
      `the chain has ${sent.length} certificates, at most ${most.sent} count`,
      {
        field: 'ek.chain',
      },
    );
  const fault = faultOf(certificate, at);
  if (fault !== null) throw untrusted(`the endorsement certificate ${fault}`);
  const sentBySubject = Map.groupBy(sent, ({ subjectName }) => subjectName.key);
  let signatures = 0;
  let why = 'no configured root vouches for the endorsement certificate';

  const isSignedBy = (subject: Certificate, issuer: Certificate) => {
    signatures += 1;
    return signatures <= most.signatures && verifies(subject, issuer, checks);
  };

  /** The rest of a path above its last member, or null. */
  const above = (path: readonly Certificate[]): readonly Certificate[] | null => {
    const last = path.at(-1) ?? certificate;
    for (const root of trust.roots.get(last.issuerName.key) ?? [])
      if (allowsBelow(root, path) && isSignedBy(last, root)) return [...path, root];
    if (path.length > most.depth) return null;
    const authorities = [sentBySubject, trust.intermediates].flatMap(
      (all) => all.get(last.issuerName.key) ?? [],
    );
    for (const authority of authorities) {
      if (path.some(({ digest }) => digest === authority.digest)) continue;
      const fault = allowsBelow(authority, path) ? faultOf(authority, at) : 'may not certify';
      if (fault !== null) why = `an authority of the endorsement certificate ${fault}`;
      else if (isSignedBy(last, authority)) {
        const found = above([...path, authority]);
        if (found !== null) return found;
      }
    }
    return null;
  };

  const path = above([certificate]);
  if (path === null) throw untrusted(why);
  return path;
}

/** Why a certificate below the root does not count at that moment; null if it does. */
function faultOf(
  { notBefore, notAfter, extensions, signatureAlgorithm }: Certificate,
  at: number,
): string | null {
  if (at < notBefore || at > notAfter) return 'was not valid at that time';
  if (extensions.usages?.includes(ekCertificate) === false) return 'is for another use than endorsing TPMs';
  if (extensions.unknownCritical.length > 0) return 'has a critical extension that is not known';
  if (brokenSignatures.includes(signatureAlgorithm)) return 'has a signature that anybody can copy';
  return null;
}

/** Old roots have neither extension: configured ones are authorities by the operator's word. */
function allowsBelow({ extensions, x509 }: Certificate, path: readonly Certificate[]): boolean {
  const { basicConstraints, mayCertify } = extensions;
  if (basicConstraints === null ? !x509.ca : !basicConstraints.ca) return false;
  if (mayCertify === false) return false;
  const authoritiesBelow = path.length - 1;
  return (basicConstraints?.pathLength ?? authoritiesBelow) >= authoritiesBelow;
}

/** Key identifiers are no more than a hint, and some makers' are wrong: the signature decides. */
function verifies(subject: Certificate, issuer: Certificate, checks: () => void): boolean {
  const key = publicKeyOf(issuer);
  if (key === null || !isCheap(key)) return false;
  checks();
  return subject.x509.verify(key);
}

const curves: readonly string[] = ['prime256v1', 'secp384r1', 'secp521r1'];

/** A signature by a long key or a long exponent takes milliseconds. */
function isCheap({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  const { modulusLength = 0, publicExponent = 0n, namedCurve = '' } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === 'ec') return curves.includes(namedCurve);
  if (asymmetricKeyType !== 'rsa' && asymmetricKeyType !== 'rsa-pss') return false;
  return modulusLength >= leastKeyBits && modulusLength <= most.keyBits && publicExponent <= most.exponent;
}

function untrusted(text: string): Rejection {
  return new Rejection('ek_untrusted_root', text, { field: 'ek.certificate' });
}
