import type { InitrdContents } from './contents.ts';
import { type IndexEntry, parseKmodIndex } from './kmod-index.ts';
import { faultInLines } from './literal-lines.ts';

/** The modules of one kernel in an initrd, by what is there. */
export interface KernelModules {
  /** Folder, without a slash at its end. */
  readonly folder: string;
  /** Names as the kernel has them. */
  readonly names: ReadonlySet<string>;
}

const moduleFile = /^(.*\/)?([^/]+)\.ko(?:\.(?:xz|gz|zst))?$/;
const word = /^[A-Za-z0-9_-]+$/;

/** @param folder as `usr/lib/modules/6.12.1` */
export function* modulesIn(contents: InitrdContents, folder: string): Generator<void, KernelModules> {
  const names = new Set<string>();
  let count = 0;
  for (const { path } of contents.entries()) {
    if (++count % entriesInStep === 0) yield;
    if (path.startsWith(`${folder}/`)) {
      const name = moduleFile.exec(path)?.[2];
      if (name !== undefined) names.add(kernelName(name));
    }
  }
  return { folder, names };
}

const entriesInStep = 4096;

/**
 * The fault in an index of modules, one that depmod makes; null if all that it names is there, so that the kernel is told to
 * load only what is known. In steps of some milliseconds. Attack: it names a module that lies elsewhere, or a command to run.
 * @param name as `modules.dep.bin`
 * @throws Rejection `malformed`
 */
export function* moduleIndexFault(
  name: string,
  bytes: Buffer,
  modules: KernelModules,
  contents: InitrdContents,
): Generator<void, string | null> {
  const binary = /^modules\.(.+)\.bin$/.exec(name)?.[1];
  if (binary !== undefined) {
    const check = ofIndex.get(binary);
    if (check === undefined) return 'it is no index that depmod writes';
    for (const entry of parseKmodIndex(bytes))
      if (entry === 'step') yield;
      else if (!check(entry, modules, contents))
        return `it has "${entry.key} ${entry.value}", which is not there`;
    return null;
  }
  const check = ofText.get(name.slice('modules.'.length));
  if (check === undefined) return 'it is no list that depmod writes';
  return yield* faultInLines(bytes, (line) =>
    /^(?:#.*|[ \t]*)$/.test(line) || check(line, modules, contents)
      ? null
      : `it has the line "${line}", of something that is not there`,
  );
}

type ModuleCheck<What> = (what: What, modules: KernelModules, contents: InitrdContents) => boolean;

const ofIndex: ReadonlyMap<string, ModuleCheck<IndexEntry>> = new Map<string, ModuleCheck<IndexEntry>>([
  ['dep', ({ value }, modules, contents) => isDependency(value, modules, contents)],
  ['alias', ({ value }, modules) => isModule(value, modules)],
  ['symbols', ({ value }, modules) => isModule(value, modules)],
  // Whoever says that more is built in has less loaded.
  ['builtin', ({ key, value }) => word.test(key) && value === ''],
  ['builtin.alias', ({ value }) => word.test(value)],
]);

/** Others are named as they are, or by an alias, as `platform:idma64`. */
const dependency = /^(?:softdep|weakdep) [A-Za-z0-9_-]+(?: [A-Za-z0-9_:-]+)*[ \t]*$/;

const ofText: ReadonlyMap<string, ModuleCheck<string>> = new Map<string, ModuleCheck<string>>([
  ['dep', isDependency],
  ['alias', isAlias],
  ['symbols', isAlias],
  // Read as configuration, in which other words run programs.
  ['softdep', (line) => dependency.test(line)],
  ['weakdep', (line) => dependency.test(line)],
  ['devname', isDeviceName],
  ['builtin', isModulePath],
  ['order', isModulePath],
]);

function isModulePath(path: string): boolean {
  return moduleFile.test(path) && !path.split('/').includes('..');
}

/** Attack: a disk under the name of the one that is mounted, which udev's list of static nodes has before that is there. */
function isDeviceName(line: string, modules: KernelModules): boolean {
  const [, name = ''] = /^([A-Za-z0-9_-]+) [A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)* c\d+:\d+$/.exec(line) ?? [];
  return isModule(name, modules);
}

function isDependency(line: string, { folder }: KernelModules, contents: InitrdContents): boolean {
  const [, module = '', others = ''] = /^([^: ]+):((?: [^ ]+)*)[ ]*$/.exec(line) ?? [];
  return [module, ...others.split(' ').filter((one) => one !== '')].every(
    (path) => isModulePath(path) && contents.at(path.startsWith('/') ? path : `${folder}/${path}`) !== null,
  );
}

function isAlias(line: string, modules: KernelModules): boolean {
  const [, name = ''] = /^alias \S+ ([A-Za-z0-9_-]+)$/.exec(line) ?? [];
  return isModule(name, modules);
}

function isModule(name: string, { names }: KernelModules): boolean {
  return names.has(kernelName(name));
}

function kernelName(name: string): string {
  return name.replaceAll('-', '_');
}
