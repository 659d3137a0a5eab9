import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** Somebody who signs certificates. */
export interface Signer {
  readonly name: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export interface CertificateOptions {
  readonly subject?: string;
  /** Content of the SPKI; default: made of the signer's key or `publicKey`. */
  readonly publicKey: KeyObject;
  readonly extensions?: readonly Buffer[];
  readonly notBefore?: string;
  readonly notAfter?: string;
}

export function signer(name: string): Signer {
  return { name, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
}

/** An X.509 certificate with exactly these extensions, each by `extension`. */
export function madeCertificate(by: Signer, options: CertificateOptions): Buffer {
  const algorithm = by.privateKey.asymmetricKeyType === 'rsa' ? rsaSha256 : ecdsaSha256;
  const time = (text: string) => der(0x18, Buffer.from(text));
  const tbs = der(
    0x30,
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, Buffer.of(1)),
    algorithm,
    named(by.name),
    der(0x30, time(options.notBefore ?? '20200101000000Z'), time(options.notAfter ?? '99991231235959Z')),
    options.subject === undefined ? der(0x30) : named(options.subject),
    options.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(0x30, ...(options.extensions ?? []))),
  );
  return der(0x30, tbs, algorithm, der(0x03, Buffer.of(0), sign('sha256', tbs, by.privateKey)));
}

/** A certificate of an authority, by itself or by another one. */
export function madeAuthority(
  of: Signer,
  by: Signer = of,
  extensions: readonly Buffer[] = [basicConstraints()],
): Buffer {
  return madeCertificate(by, { subject: of.name, publicKey: of.publicKey, extensions });
}

/** An endorsement certificate as TPM makers write them: no subject, the TPM's make among the alternative names. */
export function madeEkCertificate(
  by: Signer,
  publicKey: KeyObject,
  tpm: { readonly manufacturer: string; readonly model: string },
  more: readonly Buffer[] = [],
): Buffer {
  const attribute = (last: number, text: string) =>
    der(0x31, der(0x30, der(0x06, Buffer.from([0x67, 0x81, 0x05, 0x02, last])), utf8(text)));
  const names = der(0x30, attribute(1, tpm.manufacturer), attribute(2, tpm.model), attribute(3, 'id:0001'));
  return madeCertificate(by, {
    publicKey,
    extensions: [extension('551d11', der(0x30, der(0xa4, names)), true), usage('6781050801'), ...more],
  });
}

export function basicConstraints(ca = true, pathLength?: number): Buffer {
  const length = pathLength === undefined ? [] : [der(0x02, Buffer.of(pathLength))];
  return extension('551d13', der(0x30, ...(ca ? [der(0x01, Buffer.of(0xff))] : []), ...length), true);
}

/** Key usage as one byte of bits, the first of them the highest. */
export function keyUsage(bits: number): Buffer {
  return extension('551d0f', der(0x03, Buffer.of(0, bits)), true);
}

export function usage(oid: string): Buffer {
  return extension('551d25', der(0x30, der(0x06, Buffer.from(oid, 'hex'))));
}

/** Where the issuer's certificate and the list of revoked ones can be fetched, says the certificate. */
export function addresses(url: string): readonly Buffer[] {
  const uri = der(0x86, Buffer.from(url));
  const caIssuers = der(0x06, Buffer.from('2b06010505073002', 'hex'));
  const ocsp = der(0x06, Buffer.from('2b06010505073001', 'hex'));
  return [
    extension('2b06010505070101', der(0x30, der(0x30, caIssuers, uri), der(0x30, ocsp, uri))),
    extension('551d1f', der(0x30, der(0x30, der(0xa0, der(0xa0, uri))))),
  ];
}

export function extension(oid: string, value: Buffer, isCritical = false): Buffer {
  const critical = isCritical ? [der(0x01, Buffer.of(0xff))] : [];
  return der(0x30, der(0x06, Buffer.from(oid, 'hex')), ...critical, der(0x04, value));
}

const ecdsaSha256 = der(0x30, der(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
const rsaSha256 = der(0x30, der(0x06, Buffer.from('2a864886f70d01010b', 'hex')), Buffer.of(5, 0));

function named(text: string): Buffer {
  return der(0x30, der(0x31, der(0x30, der(0x06, Buffer.from('550403', 'hex')), utf8(text))));
}

function utf8(text: string): Buffer {
  return der(0x0c, Buffer.from(text));
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...head), content]);
}
