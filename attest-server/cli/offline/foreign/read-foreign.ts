import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Reference } from '../../../formats/reference.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { CliError, exit } from '../../exit.ts';
import { readFile, unreadable } from '../../read-file.ts';
import { bootReference, type ReferenceComponent } from '../boot-reference.ts';
import { checkNames } from '../check-names.ts';
import { isKeylimeBoot, parseKeylimeBoot } from './keylime-boot.ts';
import { parsePcrlock, pcrlockComponents } from './pcrlock.ts';

/** References that another program's files make, staged, and what of these files is left out. */
export interface ReadForeign {
  readonly references: readonly Reference[];
  readonly notes: readonly string[];
}

/**
 * Reads component files of systemd-pcrlock (files, or a folder of them), or a measured boot reference state of Keylime.
 * Null if it is neither: then it is a reference of ours.
 * @throws CliError
 */
export function readForeign(
  paths: readonly string[],
  { name, group }: { readonly name?: string | undefined; readonly group?: string | undefined },
): ReadForeign | null {
  const [first = ''] = paths;
  const isPcrlock = paths.every((path) => path.endsWith('.pcrlock') || isFolder(path));
  if (!isPcrlock && (paths.length > 1 || !isKeylime(first))) return null;
  if (name === undefined || group === undefined)
    throw new CliError(
      'a file of another program names no reference and no group',
      'Give it --name NAME --group GROUP.',
      exit.usage,
    );
  checkNames({ name, group });
  const { components, notes } = isPcrlock ? readPcrlock(paths) : readKeylime(first);
  const made = components.map((found, index) =>
    bootReference({ name: index === 0 ? name : `${name}-${index + 1}`, group, state: 'staged' }, found),
  );
  if (made.length === 0)
    throw new CliError(`${first} has nothing that a reference holds`, notes.join('\n') || null);
  return { references: made, notes };
}

interface ForeignReferences {
  /** The components of each reference. */
  readonly components: readonly (readonly ReferenceComponent[])[];
  readonly notes: readonly string[];
}

function readPcrlock(paths: readonly string[]): ForeignReferences {
  const files = paths.flatMap((path) => (isFolder(path) ? componentsIn(path) : [path]));
  const named = files.map((path) => ({
    name: componentName(path),
    records: refusing(path, () => parsePcrlock(readFile(path).toString('utf8'))),
  }));
  const { components, notes } = pcrlockComponents(named.sort((a, b) => (a.name < b.name ? -1 : 1)));
  return { components: components.length === 0 ? [] : [components], notes };
}

/** Component files of a folder. Variants of one component are alternatives: a reference is one boot. */
function componentsIn(folder: string): readonly string[] {
  const entries = (() => {
    try {
      return readdirSync(folder).sort();
    } catch (cause) {
      throw unreadable(folder, cause);
    }
  })();
  if (entries.length > 1024) throw new CliError(`${folder} holds more than 1024 files`, 'Name the files.');
  const own = folder.endsWith('.pcrlock.d') ? entries.filter((entry) => entry.endsWith('.pcrlock')) : [];
  if (own.length > 1)
    throw new CliError(
      `${folder} holds ${own.length} variants of one component, and a reference is one boot`,
      `Name the files of one boot, and import again under another name for each of the others:\n${own.map((entry) => `  ${join(folder, entry)}`).join('\n')}`,
    );
  return entries.flatMap((entry) => {
    const path = join(folder, entry);
    if (entry.endsWith('.pcrlock.d') && isFolder(path)) return componentsIn(path);
    return entry.endsWith('.pcrlock') ? [path] : [];
  });
}

/** `650-uki`: of a variant, that of its folder. */
function componentName(path: string): string {
  const [, folder] = /([^/]+)\.pcrlock\.d\/[^/]+$/.exec(path) ?? [];
  return folder ?? basename(path, '.pcrlock');
}

function readKeylime(path: string): ForeignReferences {
  const { references, notes } = refusing(path, () => parseKeylimeBoot(readFile(path).toString('utf8')));
  return { components: references, notes };
}

function isKeylime(path: string): boolean {
  if (!path.endsWith('.json')) return false;
  try {
    return isKeylimeBoot(JSON.parse(readFile(path).toString('utf8')));
  } catch (error) {
    // Whoever reads it as a reference says what is wrong.
    if (error instanceof SyntaxError || error instanceof CliError) return false;
    throw error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function refusing<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    throw new CliError(`${path}: ${error.message}`, 'Is it the right file?', exit.error, error);
  }
}
