import type { Reference } from '../../formats/reference.ts';
import type { BootProblem } from '../../verify/boot/boot-problem.ts';
import type { ReplayedBoot } from '../../verify/measured-boot.ts';
import type { PcrValues } from '../../wire/pcr-values.ts';
import { isOfUnusedBank } from '../../wire/unused-bank.ts';
import type { Finding } from '../finding.ts';
import { noActiveReference } from '../no-active-reference.ts';
import type { PreparedReference } from './reference-set.ts';
import type { RevokedMatch } from './revoked.ts';

export const noBootLog: Finding = {
  code: 'no_boot_log',
  aspect: 'boot',
  source: 'tpm',
  expected: 'a boot log that replays onto the quoted PCRs',
  actual: null,
  text: 'The PCR values match a reference, but the node sent no boot log.',
  evidence: null,
};

/** The finding that there is no log to compare: the references of the group go by events. */
export const noLogToJudge: Finding = {
  ...noBootLog,
  text: 'The node sent no boot log, and no reference of its group can be compared by PCR values alone.',
};

export const noLogForRules: Finding = {
  ...noBootLog,
  text: 'The PCR values match a reference, but the node sent no boot log, and the policy has rules that need one.',
};

/** The policy takes PCR values for enough. */
export const judgedWithoutLog: Finding = {
  ...noBootLog,
  severity: 'info',
  text: 'The node sent no boot log. Its PCR values match a reference, and that is enough for the policy.',
};

export const bootLogGone: Finding = {
  ...noBootLog,
  code: 'log_incomplete',
  text: 'The node sent a boot log before, and now it sends none.',
};

export function noReference(group: string, names: readonly string[] | null): Finding {
  const purpose = 'to compare this boot with. Capture one from a node that you vouch for';
  return noActiveReference('boot', group, names, purpose);
}

/** @param active references in force that have this boot: whoever revoked the other one may not have known it */
export function revokedReference(
  { reference: { reference }, component }: RevokedMatch,
  boot: ReplayedBoot | null,
  active: readonly PreparedReference[],
): Finding {
  const text =
    component === null
      ? `This boot matches reference ${reference.name}`
      : `The boot ran "${component.description}", which reference ${reference.name} has`;
  return {
    code: 'revoked_reference',
    aspect: 'boot',
    source: 'tpm',
    expected: 'a boot that was not revoked',
    actual: component === null ? reference.name : `${component.description} of ${reference.name}`,
    text: `${text}; ${revocationOf(reference)}.${affirmedText(active)}`,
    evidence: boot && { digest: boot.digest, position: 'PCRs' },
    reference: reference.name,
  };
}

function affirmedText(active: readonly PreparedReference[]): string {
  if (active.length === 0) return '';
  const names = active.slice(0, mostNamed).map(({ reference }) => reference.name);
  const more = active.length > mostNamed ? ` and ${active.length - mostNamed} more` : '';
  const has = active.length === 1 ? ' has' : 's have';
  return ` Active reference${has} all of this boot too: ${names.join(', ')}${more}.`;
}

const mostNamed = 4;

/** A file that says of itself that it is revoked says not who did that. */
function revocationOf({ changed }: Reference): string {
  if (changed?.action !== 'revoke') return 'that reference was revoked';
  return `${changed.by} revoked it on ${changed.at} (${changed.reason})`;
}

export function deniedTpmFirmware(version: string): Finding {
  return {
    code: 'tpm_firmware',
    aspect: 'boot',
    source: 'tpm',
    expected: 'TPM firmware that the policy does not deny',
    actual: version,
    text: `The TPM runs firmware ${version}, which the policy denies.`,
    evidence: null,
  };
}

/** @param digest of the log @param banks those that were quoted */
export function problemsOf(
  digest: string,
  problems: readonly BootProblem[],
  banks: readonly PcrValues[],
): Finding[] {
  return problems.map((problem) => {
    const { code, pcr, event, expected, actual, text } = problem;
    return {
      code,
      aspect: 'boot',
      source: 'tpm',
      expected,
      actual,
      text,
      evidence: { digest, position: event !== null ? `event ${event}` : pcr !== null ? `PCR ${pcr}` : 'log' },
      ...(isOfUnusedBank(problem, problems, banks) && { severity: 'warn' }),
    };
  });
}
