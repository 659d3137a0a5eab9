import type { TpmClass } from '../../formats/tpm-class.ts';
import type { Finding } from '../finding.ts';

export const identityUnproven: Finding = {
  code: 'identity_unproven',
  aspect: 'identity',
  source: 'tpm',
  expected: 'an enrolled endorsement key',
  actual: null,
  text: 'No endorsement key vouches that this attestation key lives in the TPM of this node.',
  evidence: null,
};

/** @param known what the TPM is, as a root says */
export function otherTpmClass(wanted: readonly TpmClass[], known: TpmClass): Finding {
  const kinds = wanted.join(' or ');
  return {
    code: 'identity_unproven',
    aspect: 'identity',
    source: 'server',
    expected: `a ${kinds} TPM, as the root that endorsed it says`,
    actual: known,
    text:
      known === 'unknown'
        ? `The policy wants a ${kinds} TPM, but no root says what kind this one is.`
        : `The policy wants a ${kinds} TPM, but this one is ${known}.`,
    evidence: null,
  };
}
