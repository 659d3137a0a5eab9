import { maskIdentifiers } from './masked-text.ts';
import { type MaskName, maskCommand } from './named-masks.ts';
import { isOfMenu, type ReadText } from './only-read.ts';

/**
 * The commands of GRUB in the order of one boot, but for those of its menu, as they are compared: without identifiers of
 * the machine, without hints, and each disk by when it was named first. A disk's number says nothing of what is on it,
 * and all that is read is measured; two disks that changed places in one command still differ, and so do partitions.
 */
export function comparedCommands<One extends ReadText>(
  components: readonly One[],
  masks: readonly MaskName[],
): ReadonlyMap<One, string> {
  const compared = new Map<One, string>();
  const called = diskNames();
  const commands = components.filter((one) => one.pcr === 8 && one.kind === 'command' && !isOfMenu(one));
  for (const [at, one] of commands.entries()) {
    if (one.text === null) continue;
    const text = maskIdentifiers(one.text);
    const named = isFallback(text, commands[at + 1]?.text) ? withoutDisk(text) : text;
    const masked = maskDisks(withoutHints(named), called);
    compared.set(one, masks.length === 0 ? masked : maskCommand(masked, masks));
  }
  return compared;
}

/** Names of disks in EFI and BIOS firmware and GRUB's own drivers. GRUB 2.12 manual, section "How to specify devices". */
const kinds = 'hd|cd|fd|ahci|ata|usb';
const aDisk = new RegExp(`^(?:${kinds})\\d+(?:,[\\w,]*)?$`);
/** As a word, an assigned value, or the beginning of a path. */
const disk = new RegExp(`(?<=(?:^(?:set )?\\w+=|\\s)\\(?)(${kinds})\\d+(?=[,)\\s]|$)`, 'g');

/** Attack: an argument for a kernel that looks like a disk. All but the file's name is kept as it is. */
const handsArguments =
  /^(?:linux|kernel|module|multiboot|xen|chainloader|kfreebsd|knetbsd|kopenbsd)\w*\s+\S*/;

function maskDisks(command: string, called: (name: string, kind: string) => string): string {
  const end = handsArguments.exec(command)?.[0].length ?? command.length;
  return command.slice(0, end).replace(disk, called) + command.slice(end);
}

/** Calls each disk of a kind by the place in which it came first. */
function diskNames(): (name: string, kind: string) => string {
  const names = new Map<string, string>();
  const counts = new Map<string, number>();
  return (name, kind) => {
    const known = names.get(name);
    if (known !== undefined) return known;
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    names.set(name, `<${kind}${count}>`);
    return `<${kind}${count}>`;
  };
}

const anyDisk = new RegExp(`\\b(?:${kinds})\\d+`, 'g');

/**
 * False if commands of the same texts name the same disk wherever they name one of its kind. Those of the menu do not
 * count, as in `comparedCommands`.
 */
export function namesSeveralDisks(components: readonly ReadText[]): boolean {
  const names = new Set<string>();
  const ofKinds = new Set<string>();
  for (const one of components) {
    if (one.pcr !== 8 || one.kind !== 'command') continue;
    const named = one.text?.match(anyDisk) ?? null;
    if (named === null || isOfMenu(one)) continue;
    for (const name of named) {
      if (names.has(name)) continue;
      names.add(name);
      ofKinds.add(name.replace(/\d+$/, ''));
      if (names.size > ofKinds.size) return true;
    }
  }
  return false;
}

const searchFor = /^search(?:\.\w+)?\s/;

/** A hint says where to look first for what is searched, and not for what. */
function withoutHints(command: string): string {
  if (!searchFor.test(command)) return command;
  const words = command.split(' ');
  const kept: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (/^--hint(?:-\w+)?=/.test(word)) continue;
    const isHint = /^--hint(?:-\w+)?$/.test(word) && aDisk.test(words[at + 1] ?? '');
    if (isHint) at++;
    // `search.fs_uuid UUID VARIABLE HINT…`
    else if (!(command.startsWith('search.') && at > 2 && aDisk.test(word))) kept.push(word);
  }
  return kept.join(' ');
}

const setDisk = new RegExp(`^set (\\w+)=(?=(?:${kinds})\\d+,)`);

/** A disk as it was called when the configuration was made: it counts only where the search right behind it finds none. */
function isFallback(command: string, next: string | null | undefined): boolean {
  const variable = setDisk.exec(command)?.[1];
  return variable !== undefined && !!next?.startsWith('search ') && sets(next, variable);
}

function sets(search: string, variable: string): boolean {
  const words = search.split(' ');
  return words.includes(`--set=${variable}`) || words[words.indexOf('--set') + 1] === variable;
}

const assignedDisk = new RegExp(`=(${kinds})\\d+`);

function withoutDisk(command: string): string {
  return command.replace(assignedDisk, '=<$1>');
}
