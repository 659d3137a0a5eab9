import { asKernelReads, forKernel, isAllowed, isCutOff, parseCommandLine } from '../policy/command-line.ts';
import { isWithin } from '../policy/keys.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { roles } from '../wire/roles.ts';
import type { KeyQuestion, StoredVolume } from './ports.ts';

/** Why a boot gets no key. */
export interface KeyRefusal {
  readonly code: ReasonCode;
  /** One sentence for a person. */
  readonly text: string;
}

/** Findings besides which no key is given, whatever their severity in the policy. */
const withholding: ReadonlySet<ReasonCode> = new Set(['kexec_detected', 'change_expected']);

/**
 * Why this answer gets no key; null if it may have one. By what this very answer proved: nothing that an earlier one showed.
 * @param isExempt whether a person let the node work although it is not trusted
 */
export function refusalOf(
  { node, verdict, group, proven, wasCapped, address }: KeyQuestion,
  volume: StoredVolume,
  isExempt: boolean,
): KeyRefusal | null {
  const { keys } = group;
  const withheld = (text: string): KeyRefusal => ({ code: 'key_withheld', text });
  if (volume.node !== node.name || volume.ekDigest !== node.ekDigest)
    return { code: 'key_subject_mismatch', text: 'the volume is not one of this node, or not of this TPM' };
  if (volume.revoked !== null)
    return withheld(`${volume.revoked.by} revoked the key of this volume: ${volume.revoked.because}`);
  if (keys === undefined) return withheld(`the policy has no keys for group ${group.name}`);
  if (verdict.trial === true) return withheld('the server is on trial: the TPM may be a program');
  if (node.bound === undefined || node.bound === 'first-use')
    return withheld('nobody vouches for this TPM: it was bound by first use');
  if (keys.from !== null && (address === null || !isWithin(address, keys.from)))
    return withheld(`${address ?? 'its address'} is in none of the networks that may ask`);
  if (isExempt) return withheld('the node is exempt: a person let it work untrusted');
  const found = verdict.reasons.find(({ code }) => withholding.has(code));
  if (found !== undefined) return withheld(`${found.code}: ${found.text}`);
  const open = roles.unlock.proves.filter((aspect) => verdict.aspects[aspect]?.status !== 'affirming');
  if (open.length > 0) {
    const why = verdict.reasons.find(({ aspect, severity }) => open.includes(aspect) && severity === 'fail');
    return withheld(
      `${open.join(' and ')} not affirmed${why === undefined ? '' : `: ${why.code}: ${why.text}`}`,
    );
  }
  const unmeasured = keys.allowUnmeasuredRoot
    ? null
    : unmeasuredRoot(linesOf(proven), group.rules.boot.cmdline.allow);
  if (unmeasured !== null)
    return {
      code: 'root_unmeasured',
      text: `nothing that was measured vouches for the root file system: ${unmeasured}`,
    };
  const states = [...proven.cap.values()].map(({ state }) => state);
  if (wasCapped || states.includes('capped'))
    return { code: 'lease_consumed', text: 'this boot has opened its disks: PCR 15 is capped' };
  if (states.length === 0 || states.some((state) => state !== 'open'))
    return withheld('PCR 15 is not explained by the logs: this boot may have been capped');
  return null;
}

function linesOf({ boot }: Pick<KeyQuestion['proven'], 'boot'>): readonly string[] {
  return (boot?.state.commandLines ?? []).map(({ text }) => text);
}

/**
 * Null if each measured command line has one root hash of dm-verity, to which systemd then holds the root file system, and no
 * glob of the policy would take another one; else why it vouches for nothing. Attack: a line that the policy lets vary, or a good
 * one beside the real one.
 * @param allow globs of arguments that a command line may have beside those of its reference
 */
export function unmeasuredRoot(lines: readonly string[], allow: readonly string[]): string | null {
  if (lines.length === 0) return 'no command line was measured';
  return lines.map((text) => rootHashFault(text, allow)).find((fault) => fault !== null) ?? null;
}

function rootHashFault(text: string, allow: readonly string[]): string | null {
  if (isCutOff(text)) return 'the kernel does not read all of its command line';
  const words = forKernel(parseCommandLine(text).arguments);
  const [hash, ...others] = words.filter((word) => asKernelReads(word).startsWith('roothash='));
  if (hash === undefined) return 'no dm-verity root hash in the command line';
  if (others.length > 0) return 'the command line has several root hashes';
  if (!/^roothash=[0-9a-f]{64}$/.test(hash))
    return 'the root hash in the command line is not one of 64 hex digits';
  return isAllowed(hash, allow) ? 'boot.cmdline.allow of the policy takes any root hash' : null;
}
