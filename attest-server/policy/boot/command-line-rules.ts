import type { BootComponent, VouchedText } from '../../verify/boot/boot-state.ts';
import { asKernelReads, forKernel, hasOneOf, isCutOff, parseCommandLine } from '../command-line.ts';
import type { Finding } from '../finding.ts';
import { globMatches } from '../glob.ts';
import { neverResumes } from './kernel-words.ts';
import { maskIdentifiers } from './masked-text.ts';
import { maskArgument } from './named-masks.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { ruleFinding } from './rule-finding.ts';
import { type BootRules, type CommandLineRules, refusesLines } from './rules.ts';
import { quoted } from './sentence.ts';
import { isUnified } from './unified-boot.ts';
import type { VouchedBoot } from './vouched-boot.ts';

interface ParsedLine extends VouchedText {
  readonly arguments: readonly string[];
}

/**
 * `cmdline` of a policy, over every command line that the TPM vouches for as text. All of them must obey: who has the
 * TPM can add a good one, and cannot take a bad one away.
 */
export function commandLineFinding(
  boot: VouchedBoot,
  rules: BootRules,
  references: readonly PreparedReference[],
): Finding | null {
  const { cmdline } = rules;
  if (!refusesLines(cmdline)) return null;
  const lines = boot.state.commandLines.map(
    ({ event, text }): ParsedLine => ({ event, text, arguments: parseCommandLine(text).arguments }),
  );
  const complete = whole(boot, lines, references);
  return (
    checkForbidden(boot, lines, cmdline) ??
    checkShown(boot, references) ??
    checkRequired(boot, complete, cmdline) ??
    checkExact(boot, complete, rules) ??
    checkResume(boot, complete, cmdline)
  );
}

function checkForbidden(
  boot: VouchedBoot,
  lines: readonly ParsedLine[],
  { forbid }: CommandLineRules,
): Finding | null {
  for (const { event, arguments: words } of lines)
    for (const word of words) {
      const glob = forbid.find((one) => isForbidden(word, one));
      if (glob === undefined) continue;
      const text = `The kernel command line of event ${event} has ${quoted(word)}, which the policy forbids (${glob}).`;
      return ruleFinding(boot, 'cmdline_policy', event, `no ${glob}`, word, text);
    }
  return null;
}

/**
 * Attack: the log has other data where a loader measured a line, so that no rule reads it. The digest may be that of a
 * reference, from before the rule; or nothing compares it, as where the policy leaves the loader open.
 */
function checkShown(boot: VouchedBoot, references: readonly PreparedReference[]): Finding | null {
  const hidden = boot.state.components.find((one) => mayBeText(boot, one, references));
  if (hidden === undefined) return null;
  const { event, pcr, describes } = hidden;
  const text = `Event ${event} in PCR ${pcr} (${quoted(describes)}) may be a kernel command line of which the log does not have the text, so that the rules on command lines cannot be applied.`;
  return ruleFinding(boot, 'cmdline_policy', event, 'the text that was measured', describes, text);
}

/** GRUB puts text into PCR 8; into PCR 12 systemd puts lines, and Windows something else. */
function mayBeText(
  { texts }: VouchedBoot,
  component: BootComponent,
  references: readonly PreparedReference[],
): boolean {
  if (component.text !== null || (component.pcr !== 8 && component.pcr !== 12)) return false;
  const known = references.flatMap(
    ({ components }) => referencedComponent(components, component, texts) ?? [],
  );
  if (known.length === 0) return component.pcr === 8;
  return known.some(({ kind }) => kind === 'cmdline' || kind === 'command');
}

/** However it is written, also within quotes, which an initrd's scripts do not see. */
function isForbidden(word: string, glob: string): boolean {
  const read = asKernelReads(glob);
  return [word, ...word.split(/\s+/)].some(
    (one) => globMatches(glob, one) || globMatches(read, asKernelReads(one)),
  );
}

function checkRequired(
  boot: VouchedBoot,
  lines: readonly WholeLine[],
  { require }: CommandLineRules,
): Finding | null {
  for (const glob of require) {
    const lacking = lines.find(
      ({ arguments: words }) => !forKernel(words).some((word) => globMatches(glob, word)),
    );
    if (lacking === undefined) continue;
    const text =
      lacking.event === null
        ? `The policy requires ${quoted(glob)} on the kernel command line, but the TPM vouches for no text of a command line.`
        : `The kernel command line of event ${lacking.event} lacks ${quoted(glob)}, which the policy requires.`;
    return ruleFinding(boot, 'cmdline_policy', lacking.event, glob, lacking.text, text);
  }
  return null;
}

function checkExact(
  boot: VouchedBoot,
  lines: readonly WholeLine[],
  { cmdline: { exact }, masks }: BootRules,
): Finding | null {
  if (exact === null) return null;
  const compared = (words: readonly string[]) =>
    words.map((word) => maskArgument(maskIdentifiers(word), masks)).join(' ');
  const wanted = compared(parseCommandLine(exact).arguments);
  const other = lines.find(({ arguments: words }) => compared(words) !== wanted);
  if (other === undefined) return null;
  const has = other.text === null ? 'has no text that the TPM vouches for' : `is ${quoted(other.text)}`;
  const text = `The kernel command line ${has}, but the policy wants ${quoted(exact)}.`;
  return ruleFinding(boot, 'cmdline_policy', other.event, exact, other.text, text);
}

/** Where the policy forbids that an image is resumed. */
export const expectedNoResume = `one of: ${neverResumes.join(' ')}`;

/**
 * Attack: a perfect boot, whose kernel then takes its memory from an image on a disk. Without `resume=` an initrd, or who is
 * root, can name the disk as well.
 */
function checkResume(
  boot: VouchedBoot,
  lines: readonly WholeLine[],
  { resume }: CommandLineRules,
): Finding | null {
  if (resume === null) return null;
  const open = lines.find(
    ({ text, arguments: words }) => text === null || isCutOff(text) || !hasOneOf(words, neverResumes),
  );
  if (open === undefined) return null;
  const named = forKernel(open.arguments).find((word) => asKernelReads(word).startsWith('resume='));
  const line =
    open.event === null ? 'of this boot (the TPM vouches for none of its text)' : `of event ${open.event}`;
  const text = `The kernel command line ${line} lets its kernel resume an image from a disk${named === undefined ? '' : ` (${quoted(named)})`}. No TPM would see that, and the policy forbids it.`;
  return ruleFinding(boot, 'cmdline_policy', open.event, expectedNoResume, named ?? open.text, text);
}

interface WholeLine {
  readonly event: number | null;
  readonly text: string | null;
  readonly arguments: readonly string[];
}

/**
 * A loader's lines are whole; of a unified image only what was added to its own is text, and that counts as one. Attack:
 * what the line of a loader lacks is extended later, into the PCR of what is added.
 */
function whole(
  boot: VouchedBoot,
  lines: readonly ParsedLine[],
  references: readonly PreparedReference[],
): readonly WholeLine[] {
  const unified = isUnified(boot, references);
  const complete = lines.filter(({ event }) => !unified || boot.componentAt(event)?.pcr !== 12);
  if (complete.length > 0) return complete;
  return [
    {
      event: lines[0]?.event ?? null,
      text: lines.length === 0 ? null : lines.map(({ text }) => text).join(' '),
      arguments: lines.flatMap(({ arguments: words }) => words),
    },
  ];
}
