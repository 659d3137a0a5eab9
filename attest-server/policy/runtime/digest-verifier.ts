/** Whether a key signed a digest (RSA: PKCS#1 v1.5; ECDSA: in DER); of any other bytes it says no. */
export type DigestVerifier = (algorithm: string, digest: Buffer, signature: Buffer) => boolean;
