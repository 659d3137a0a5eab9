import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { Finding } from '../finding.ts';
import { isCalledSo } from './called-so.ts';
import type { PreparedReference } from './reference-set.ts';
import { ruleFinding } from './rule-finding.ts';
import { quoted } from './sentence.ts';
import type { VouchedBoot } from './vouched-boot.ts';

const initrdCommand = /^initrd(?:efi|16)?\s/;
/** The kernel's EFI stub reads this anywhere in its line, also within a word or quotes, and measures nothing of the file. */
const initrdOption = /initrd=/;
/** Where loaders, the kernel's stub and systemd's measure one. */
const initrdPcrs: ReadonlySet<number> = new Set([9, 11]);

/**
 * A boot that gives its kernel an initrd that nothing measured: its loader says so, or every reference has one and it
 * has none. Attack: a known kernel does what an unknown initrd tells it.
 */
export function initrdFinding(boot: VouchedBoot, references: readonly PreparedReference[]): Finding | null {
  const { components, commandLines } = boot.state;
  if (components.some((component) => isInitrd(boot, component, references))) return null;
  if (!boot.vouches(9) && !boot.hasSections) return null;
  const command = components.find(
    ({ kind, text }) => kind === 'command' && text !== null && initrdCommand.test(text),
  );
  const line = commandLines.find(({ text }) => initrdOption.test(text));
  const told = command ?? line;
  if (told !== undefined) {
    const text = `Event ${told.event} names an initrd (${quoted(told.text ?? '')}), but none was measured.`;
    return ruleFinding(boot, 'initrd_unmeasured', told.event, 'the initrd in PCR 9', null, text);
  }
  const without = references.find(({ whole, components }) => whole && !components.stages.has('initrd'));
  const having = references.find(({ components }) => components.stages.has('initrd'));
  const asksForOne = having !== undefined || (boot.hasSections && !components.some(isSaidInitrd));
  if (without !== undefined || !asksForOne) return null;
  const than = having === undefined ? '' : `, and reference ${having.reference.name} has one`;
  const text = `The boot measured no initrd${than}. It is not known what its kernel got.`;
  return ruleFinding(boot, 'initrd_unmeasured', null, 'the initrd in PCR 9 or 11', null, text);
}

/** Attack: an event of a PCR that nobody compares, or a known file measured once more, that the log calls an initrd. */
function isInitrd(
  boot: VouchedBoot,
  component: BootComponent,
  references: readonly PreparedReference[],
): boolean {
  if (!isSaidInitrd(component) || !initrdPcrs.has(component.pcr)) return false;
  return isCalledSo(boot, component, 'initrd', references);
}

function isSaidInitrd({ stage, kind }: BootComponent): boolean {
  return stage === 'initrd' && kind !== 'marker';
}
