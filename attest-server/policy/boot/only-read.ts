import type { BootComponent } from '../../verify/boot/boot-state.ts';

/**
 * True for a constant that says nothing of this boot: a separator or action of the firmware, the name of a section.
 * Attack: a loader's command that the log calls an action is text that recomputes as well. No firmware writes where
 * loaders do, so that there no action is one.
 */
export function isConstant({ kind, pcr, type }: Pick<BootComponent, 'kind' | 'pcr' | 'type'>): boolean {
  return kind === 'marker' && (pcr < 8 || (pcr === 11 && type === 'EV_IPL'));
}

/** As far as a component of a boot and one of a reference are alike. */
interface Read {
  readonly pcr: number | null;
  readonly kind: string | null;
  readonly text: string | null;
}

/**
 * A loader's configuration file, which carries entries, comments and identifiers of the machine; what is done of it is
 * measured as commands.
 */
export function isConfiguration(one: Pick<Read, 'pcr' | 'kind'> | undefined): boolean {
  return one?.pcr === 9 && one.kind === 'configuration';
}

/** GRUB measures an entry with all of its text when it defines it, and each command again when it runs it. */
export function definesMenu({ pcr, kind, text }: Read): boolean {
  return pcr === 8 && kind === 'command' && text !== null && /^(?:menuentry|submenu)\s/.test(text);
}
