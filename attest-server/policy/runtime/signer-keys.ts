import { createPublicKey, hash, type KeyObject, X509Certificate } from 'node:crypto';
import type { DigestVerifier } from './digest-verifier.ts';
import { ecdsaVerifier, isCurve } from './ecdsa.ts';
import { rsaVerifier } from './rsa.ts';

/** Keys of those who sign files, by the ids that may stand in their signatures. */
export type PreparedKeys = ReadonlyMap<number, readonly SignerKey[]>;

export interface SignerKey {
  /** For people: its id as evmctl prints it, and the subject of its certificate or a part of the key's SHA-256. */
  readonly name: string;
  readonly verifies: DigestVerifier;
}

/**
 * Makes the keys of a policy ready. Each text is a public key or a certificate, in PEM or in base64 of its DER. Of a
 * certificate the key alone counts, as in a keyring of the kernel: no dates, no usages, nobody who vouches for it.
 * @throws RangeError for a text with which `signerFault` finds fault
 */
export function prepareSigners(texts: readonly string[]): PreparedKeys {
  const keys = new Map<number, readonly SignerKey[]>();
  for (const text of texts) {
    const signer = parseSigner(text);
    if ('fault' in signer) throw new RangeError(`a signer ${signer.fault}`);
    for (const id of signer.ids) keys.set(id, [...(keys.get(id) ?? []), signer.key]);
  }
  return keys;
}

/** Why a text is no key by which files may be signed, as the end of a sentence; null if it is one. */
export function signerFault(text: string): string | null {
  const signer = parseSigner(text);
  return 'fault' in signer ? signer.fault : null;
}

interface KeyFault {
  readonly fault: string;
}

function parseSigner(text: string): { readonly ids: readonly number[]; readonly key: SignerKey } | KeyFault {
  const read = readPublicKey(text.trim());
  if ('fault' in read) return read;
  const { key, certificate } = read;
  const fault = weaknessOf(key);
  if (fault !== null) return { fault };
  const own = lastOf(hash('sha1', bitsOf(key), 'buffer'));
  const said = certificate === null ? own : (subjectKeyId(certificate.raw) ?? own);
  const digest = hash('sha256', key.export({ type: 'spki', format: 'der' }));
  const whose = certificate?.subject?.split('\n').join(', ') ?? `sha256:${digest.slice(0, 16)}`;
  return {
    // evmctl takes the first one by itself, and the other where it is given a certificate.
    ids: [...new Set([own, said])],
    key: {
      name: `${said.toString(16).padStart(8, '0')} (${whose})`,
      verifies: key.asymmetricKeyType === 'rsa' ? rsaVerifier(key) : ecdsaVerifier(key),
    },
  };
}

interface ReadKey {
  readonly key: KeyObject;
  readonly certificate: X509Certificate | null;
}

function readPublicKey(text: string): ReadKey | KeyFault {
  const pem = /^-----BEGIN ([A-Z0-9 ]{1,64})-----\s([A-Za-z0-9+/=\s]+)-----END \1-----$/.exec(text);
  if (pem === null && text.includes('-----')) return { fault: 'is not one whole block of PEM' };
  const [, label = '', content = text] = pem ?? [];
  if (label.endsWith('PRIVATE KEY')) return { fault: 'is a private key, which no policy may hold' };
  if (!/^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(content)) return { fault: 'is neither PEM nor base64' };
  const der = Buffer.from(content, 'base64');
  for (const read of readers[label] ?? []) {
    const found = orNull(() => read(der));
    if (found !== null) return found;
  }
  return { fault: 'is neither a public key (SPKI) nor a certificate' };
}

const certified = (der: Buffer): ReadKey => {
  const certificate = new X509Certificate(der);
  return { key: certificate.publicKey, certificate };
};
const bare =
  (type: 'spki' | 'pkcs1') =>
  (der: Buffer): ReadKey => ({
    key: createPublicKey({ key: der, type, format: 'der' }),
    certificate: null,
  });
/** By the label of the PEM; without one, all that it may be. */
const readers: Readonly<Record<string, readonly ((der: Buffer) => ReadKey)[]>> = {
  CERTIFICATE: [certified],
  'PUBLIC KEY': [bare('spki')],
  'RSA PUBLIC KEY': [bare('pkcs1')],
  '': [certified, bare('spki')],
};

/** OpenSSL says of bytes that are no key no more than that it cannot read them. */
function orNull<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}

const rsaBits = { least: 2048, most: 8192 };

function weaknessOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | null {
  if (asymmetricKeyType === 'rsa') {
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits < rsaBits.least)
      return `is an RSA key of ${bits} bit, which is too weak: at least ${rsaBits.least}`;
    return bits > rsaBits.most ? `is an RSA key of ${bits} bit: at most ${rsaBits.most}` : null;
  }
  const kind = asymmetricKeyDetails?.namedCurve ?? asymmetricKeyType ?? 'unknown';
  return isCurve(kind)
    ? null
    : `is a key of the kind ${kind}: RSA and ECDSA over P-256, P-384 and P-521 are taken`;
}

/** The content of its SPKI's BIT STRING. RFC 5280, section 4.2.1.2, method 1. */
function bitsOf(key: KeyObject): Buffer {
  if (key.asymmetricKeyType === 'rsa') return key.export({ type: 'pkcs1', format: 'der' });
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  return Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
}

function lastOf(id: Buffer): number {
  return id.readUInt32BE(id.length - 4);
}

/** OID 2.5.29.14, and the beginning of its OCTET STRING. */
const subjectKeyIdOid = Buffer.from('0603551d0e04', 'hex');

/** It only says which signatures are tried, so that to find its bytes is enough. */
function subjectKeyId(der: Buffer): number | null {
  const at = der.indexOf(subjectKeyIdOid);
  if (at < 0) return null;
  const [, tag, length = 0] = der.subarray(at + subjectKeyIdOid.length);
  const start = at + subjectKeyIdOid.length + 3;
  return tag === 4 && length >= 4 && start + length <= der.length
    ? lastOf(der.subarray(start, start + length))
    : null;
}
