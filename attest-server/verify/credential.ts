import { bankBytes } from '../wire/messages.ts';
import { sized, wrapFor } from './tpm/outer-wrap.ts';
import { parsePublicArea } from './tpm/public-area.ts';

export interface Credential {
  /** TPM2B_ID_OBJECT, with its size field. */
  readonly credential: Buffer;
  /** TPM2B_ENCRYPTED_SECRET, with its size field. */
  readonly secret: Buffer;
}

/**
 * Wraps a secret so that only the TPM that holds this endorsement key *and* an object of this name gives it out:
 * TPM2_MakeCredential, from TPM 2.0 Part 1 r1.59, section 24 (credential protection).
 * @param ekPublicArea TPMT_PUBLIC of a checked endorsement key, RSA or ECC
 * @param akName nameAlg || H(TPMT_PUBLIC) of the attestation key
 * @param secret at most as long as a digest of the endorsement key's name algorithm
 * @param random gives that many bytes of a cryptographic generator
 * @throws Rejection for a public area that is no key; RangeError for a secret that is too long
 */
export function makeCredential(
  ekPublicArea: Buffer,
  akName: Buffer,
  secret: Buffer,
  random: (bytes: number) => Buffer,
): Credential {
  const ek = parsePublicArea(ekPublicArea);
  const digestBytes = bankBytes[ek.nameAlg];
  if (secret.length > digestBytes)
    throw new RangeError(`a credential of ${secret.length} bytes; this endorsement key takes ${digestBytes}`);
  const { wrapped, seed } = wrapFor(ek, 'IDENTITY', akName, sized(secret), random);
  return { credential: sized(wrapped), secret: seed };
}
