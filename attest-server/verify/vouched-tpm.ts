import { Rejection } from '../protocol/rejection.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { Endorsement } from './endorsement.ts';
import { checkEndorsementChain, type TrustRoots } from './endorsement-chain.ts';
import { tpmIdentityOf } from './tpm-identity.ts';

/** What the configured roots say about a TPM. */
export interface VouchedTpm {
  /** Why no root vouches for it; null where one does. */
  readonly notVouched: Rejection | null;
  /** SHA-256 of the root's certificate, hex. */
  readonly endorsedBy: string | null;
  /** Known only by a root's word: anybody can write a maker's name into a certificate. */
  readonly manufacturer: string | null;
  readonly tpmClass: TpmClass;
}

/** Judges an endorsement by the configured roots. @throws Rejection `malformed` */
export function vouchedTpm({ certificate, chain }: Endorsement, trust: TrustRoots, at: number): VouchedTpm {
  if (certificate === null)
    return unvouched(
      new Rejection(
        'enrolment_pending',
        'an endorsement key without certificate enrols by a pin or an approval only',
      ),
    );
  const identity = tpmIdentityOf(certificate);
  try {
    const root = checkEndorsementChain(certificate, chain, trust, at).at(-1);
    const { manufacturer, tpmClass } = identity;
    return { notVouched: null, endorsedBy: root?.digest ?? null, manufacturer, tpmClass };
  } catch (error) {
    if (!(error instanceof Rejection) || error.code !== 'ek_untrusted_root') throw error;
    // A certificate that belittles its own TPM is believed.
    return { ...unvouched(error), tpmClass: identity.tpmClass === 'virtual' ? 'virtual' : 'unknown' };
  }
}

function unvouched(notVouched: Rejection): VouchedTpm {
  return { notVouched, endorsedBy: null, manufacturer: null, tpmClass: 'unknown' };
}
