import type { BootState } from '../../verify/boot/boot-state.ts';
import { hasWord } from '../command-line.ts';
import type { Finding } from '../finding.ts';
import { lockdown } from './kernel-words.ts';

/**
 * Null if each measured command line locks the kernel down, whatever the node says: its own word on that counts for nothing
 * here. Attack: one more line that does is extended by the system that runs under another one.
 */
export function kexecFinding(state: BootState | null): Finding | null {
  if (state !== null && isLockedDown(state)) return null;
  return {
    code: 'kexec_possible',
    aspect: 'boot',
    source: 'host',
    severity: 'warn',
    expected: 'kernel.kexec_load_disabled = 1, or lockdown=integrity on the command line',
    actual: 'neither',
    text: 'The node says that its kernel may start another one (kexec). No TPM would see that.',
    evidence: null,
  };
}

/** Each kernel that kexec started adds one boot_aggregate to IMA's list, whatever boot id the node says. */
export const kexecInList: Finding = {
  code: 'kexec_detected',
  aspect: 'boot',
  source: 'tpm',
  expected: 'one boot_aggregate in IMA’s list',
  actual: 'more than one',
  text: 'IMA’s list has a second boot_aggregate, and the TPM was not reset: kexec started another kernel than the one in this boot log.',
  evidence: null,
};

/** A line of which only the digest is known may lack the word. */
function isLockedDown({ commandLines, components }: BootState): boolean {
  const isUnknown = components.some(
    ({ kind, pcr, text }) => kind === 'cmdline' && pcr === 9 && text === null,
  );
  return !isUnknown && commandLines.length > 0 && commandLines.every(({ text }) => hasWord(text, lockdown));
}
