import type { Facts } from '../../protocol/facts.ts';
import type { BootState } from '../../verify/boot/boot-state.ts';
import type { Finding } from '../finding.ts';
import { forKernel, parseCommandLine } from './command-line.ts';

const locked = /^lockdown=(?:integrity|confidentiality)$/;

/** True where the node says that its kernel can be replaced by another one without a reset. */
export function saysKexecIsPossible(facts: Facts | null): boolean {
  const host = facts?.host;
  return host?.kexecLoadDisabled === false && (host.lockdown ?? 'none') === 'none';
}

/** Null where the measured command line locks the kernel down, whatever the node says. */
export function kexecFinding(state: BootState | null): Finding | null {
  const lines = state?.commandLines.map(({ text }) => forKernel(parseCommandLine(text).arguments)) ?? [];
  if (lines.some((words) => words.some((word) => locked.test(word)))) return null;
  return {
    code: 'kexec_possible',
    aspect: 'boot',
    source: 'host',
    severity: 'warn',
    expected: 'kernel.kexec_load_disabled = 1, or lockdown=integrity on the command line',
    actual: 'neither',
    text: 'The node says that its kernel may load another one (kexec), which no TPM would see.',
    evidence: null,
  };
}
