import type { Bundle } from '../../../formats/bundle.ts';
import type { TpmClass } from '../../../formats/tpm-class.ts';
import { checkEndorsement } from '../../../verify/endorsement.ts';
import { checkEndorsementChain, type TrustRoots } from '../../../verify/endorsement-chain.ts';
import { tpmIdentityOf } from '../../../verify/tpm-identity.ts';
import { Rejection } from '../../../wire/rejection.ts';

/**
 * Checks the endorsement of a bundle; with roots, also that one of them vouches for its certificate. Gives the
 * digest of the endorsement key, null if the bundle has none, and what a root says that the TPM is.
 * @throws Rejection `ek_untrusted_root`, and those of `checkEndorsement`
 */
export function checkEndorsementOf(
  { endorsement }: Bundle,
  trust: TrustRoots | null,
  at: number,
): { readonly ekDigest: string | null; readonly tpmClass: TpmClass } {
  const known = endorsement?.publicArea
    ? checkEndorsement({
        publicArea: Buffer.from(endorsement.publicArea, 'base64'),
        certificate: endorsement.certificate ? Buffer.from(endorsement.certificate, 'base64') : null,
        chain: (endorsement.chain ?? []).map((link) => Buffer.from(link, 'base64')),
      })
    : null;
  if (trust === null || endorsement === undefined)
    return { ekDigest: known?.digest ?? null, tpmClass: 'unknown' };
  if (known === null || known.certificate === null)
    throw new Rejection(
      'ek_untrusted_root',
      'the bundle lacks the endorsement certificate or its key, so no root can vouch for the TPM',
      { field: 'endorsement.certificate' },
    );
  checkEndorsementChain(known.certificate, known.chain, trust, at);
  return { ekDigest: known.digest, tpmClass: tpmIdentityOf(known.certificate).tpmClass };
}
