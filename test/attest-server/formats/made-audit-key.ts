import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** An audit key as the audit log holds it. */
export interface MadeAuditKey {
  readonly publicKey: Buffer;
  readonly privateKey: KeyObject;
  sign(message: Buffer): Buffer;
}

export function madeAuditKey(): MadeAuditKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return signing(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'), privateKey);
}

/** RFC 8032, section 7.1, test 1. */
export function knownAuditKey(): MadeAuditKey {
  const secret = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
  const publicKey = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
  const jwk = {
    kty: 'OKP',
    crv: 'Ed25519',
    d: secret.toString('base64url'),
    x: publicKey.toString('base64url'),
  };
  return signing(publicKey, createPrivateKey({ key: jwk, format: 'jwk' }));
}

function signing(publicKey: Buffer, privateKey: KeyObject): MadeAuditKey {
  return { publicKey, privateKey, sign: (message) => sign(null, message, privateKey) };
}

export const madeOrigin = `assay/${'0'.repeat(31)}1`;
