import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { filePcr } from '../../wire/loader-files.ts';

/**
 * True for a constant that says nothing of this boot: a separator or action of the firmware, the name of a section.
 * Attack: a loader's command that the log calls an action is text that recomputes as well. No firmware writes where
 * loaders do, so that there no action is one.
 */
export function isConstant({ kind, pcr, type }: Pick<BootComponent, 'kind' | 'pcr' | 'type'>): boolean {
  return kind === 'marker' && (pcr < 8 || (pcr === 11 && type === 'EV_IPL'));
}

/** As far as a component of a boot and one of a reference are alike. */
export interface ReadText {
  readonly pcr: number | null;
  readonly kind: string | null;
  readonly text: string | null;
}

/**
 * A loader's configuration file, which carries entries, comments and identifiers of the machine; what is done of it is
 * measured as commands.
 */
export function isConfiguration(one: Pick<ReadText, 'pcr' | 'kind'> | undefined): boolean {
  return one?.pcr === filePcr && one.kind === 'configuration';
}

/** GRUB measures an entry with all of its text when it defines it, and each command again when it runs it. */
export function definesMenu(one: ReadText): boolean {
  return isCommand(one, /^(?:menuentry|submenu)\s/);
}

/**
 * A command of GRUB's that starts nothing: an entry of its menu, which of them is the default, was chosen and how it is
 * called, a test, a line that is shown, and how long the menu is shown, which follows from how the last boot ended.
 * What is done of them is measured as commands of its own.
 */
export function isOfMenu(one: ReadText): boolean {
  return definesMenu(one) || isCommand(one, /^\[ [^\n]*\]$/) || isCommand(one, ofMenu);
}

const ofMenu = new RegExp(
  [
    '^set (?:(?:orig_)?timeout(?:_style)?|menu_hide_ok|boot_(?:success|indeterminate|counter)|recordfail)=',
    '^set (?:default|chosen|boot_once|(?:prev_)?saved_entry|next_entry)=[^\\n]*$',
    '^save_env (?:boot_(?:success|indeterminate|counter)|recordfail)\\b',
    '^save_env(?: (?:(?:prev_)?saved_entry|next_entry))+$',
    // Systems that count the boots after an update, and fall back to the earlier entry.
    '^(?:in|de)crement boot_counter$',
    '^(?:setparams|echo) [^\\n]*$',
  ].join('|'),
);

function isCommand({ pcr, kind, text }: ReadText, command: RegExp): boolean {
  return pcr === 8 && kind === 'command' && text !== null && command.test(text);
}

/**
 * PCRs into which loaders, the kernel's stub and systemd's measure one thing after the other, alike on every machine.
 * Firmware and its drivers do so as their slots are filled, and lists of keys start nothing.
 */
const orderedPcrs: ReadonlySet<number> = new Set([4, 8, 9, 11, 12, 13]);

/** True for what has a place in the order of its PCR: all but what may be there or not. */
export function hasPlace(one: ReadText): boolean {
  return one.pcr !== null && orderedPcrs.has(one.pcr) && !isConfiguration(one) && !isOfMenu(one);
}
