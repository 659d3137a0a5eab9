import type { MeasuredBoot } from '../verify/proven.ts';
import type { PreparedReference } from './boot/reference-set.ts';
import type { Finding } from './finding.ts';
import type { PolicyGroup } from './policy.ts';

export const identityUnproven: Finding = {
  code: 'identity_unproven',
  aspect: 'identity',
  source: 'tpm',
  expected: 'an enrolled endorsement key',
  actual: null,
  text: 'No endorsement key vouches that this attestation key lives in the TPM of this node.',
  evidence: null,
};

export const noBootLog: Finding = {
  code: 'no_boot_log',
  aspect: 'boot',
  source: 'tpm',
  expected: 'a boot log that replays onto the quoted PCRs',
  actual: null,
  text: 'The PCR values match a reference, but the node sent no boot log.',
  evidence: null,
};

export const bootLogGone: Finding = {
  ...noBootLog,
  code: 'log_incomplete',
  text: 'The node has sent a boot log before and now sends none.',
};

export function noReference({ name, boot: { references } }: PolicyGroup): Finding {
  const wanted = references === null ? `for group ${name}` : `named ${references.join(', ')}`;
  return {
    code: 'no_reference',
    aspect: 'boot',
    source: 'server',
    expected: `an active reference ${wanted}`,
    actual: null,
    text: `There is no active reference ${wanted} to compare this boot with; capture one from a node that you vouch for.`,
    evidence: null,
  };
}

export function revokedReference({ reference }: PreparedReference, boot: MeasuredBoot | null): Finding {
  return {
    code: 'revoked_reference',
    aspect: 'boot',
    source: 'tpm',
    expected: 'a boot that was not revoked',
    actual: reference.name,
    text: `This boot is the one of reference ${reference.name}, which was revoked.`,
    evidence: boot && { digest: boot.digest, position: 'PCRs' },
  };
}

export function problemsOf({ digest, problems }: MeasuredBoot): Finding[] {
  return problems.map(({ code, pcr, event, expected, actual, text }) => ({
    code,
    aspect: 'boot',
    source: 'tpm',
    expected,
    actual,
    text,
    evidence: { digest, position: event !== null ? `event ${event}` : pcr !== null ? `PCR ${pcr}` : 'log' },
  }));
}
