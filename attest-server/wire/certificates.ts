import { X509Certificate } from 'node:crypto';

/** The certificates of a PEM text. @throws Error if it has none, or one that cannot be read */
export function parseCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error('no block of a certificate');
  return blocks.map((block) => new X509Certificate(block));
}

/**
 * The certificates that a server shows, its own first, each once. Nothing of them is believed.
 * @param most how many are looked at
 */
export function chainFrom(leaf: X509Certificate | undefined, most: number): X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let next = leaf; next !== undefined && chain.length < most; next = next.issuerCertificate) {
    const { raw } = next;
    if (chain.some((seen) => seen.raw.equals(raw))) break;
    chain.push(next);
  }
  return chain;
}

/** The names of a certificate without their kinds: `localhost, 127.0.0.1` of `DNS:localhost, IP Address:127.0.0.1`. */
export function plainNames(subjectAltName: string): string {
  return subjectAltName.replace(/(DNS|IP Address):/g, '');
}
