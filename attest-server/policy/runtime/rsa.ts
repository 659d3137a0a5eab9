import { constants, type KeyObject, publicDecrypt } from 'node:crypto';
import type { DigestVerifier } from './digest-verifier.ts';

/**
 * Says whether a signature by RSASSA-PKCS1-v1_5 is over a digest whose bytes nobody has here. RFC 8017, section 8.2.2.
 * Attack: a padding that is only parsed leaves room for a forged signature. The whole of what it must be is compared.
 */
export function rsaVerifier(key: KeyObject): DigestVerifier {
  const modulus = Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url');
  return (algorithm, digest, signature) => {
    const prefix = digestInfo[algorithm];
    if (prefix === undefined || prefix.at(-1) !== digest.length) return false;
    if (signature.length !== modulus.length || signature.compare(modulus) >= 0) return false;
    const encoded = Buffer.alloc(modulus.length, 0xff);
    encoded.writeUInt16BE(0x0001);
    const info = Buffer.concat([Buffer.of(0), prefix, digest]);
    info.copy(encoded, encoded.length - info.length);
    return publicDecrypt({ key, padding: constants.RSA_NO_PADDING }, signature).equals(encoded);
  };
}

/** DER of DigestInfo up to the digest. RFC 8017, section 9.2, note 1. */
const digestInfo: Readonly<Record<string, Buffer>> = {
  sha256: Buffer.from('3031300d060960864801650304020105000420', 'hex'),
  sha384: Buffer.from('3041300d060960864801650304020205000430', 'hex'),
  sha512: Buffer.from('3051300d060960864801650304020305000440', 'hex'),
};
