import type { InitrdEntry } from '../../../protocol/initrd-manifest.ts';
import { Rejection } from '../../../protocol/rejection.ts';
import { type InitrdContents, isExecutable } from './contents.ts';
import { parseLibraryCache } from './library-cache.ts';
import { faultInLines, literalLine } from './literal-lines.ts';
import { isSeed, loginFiles } from './made-by-hooks.ts';
import { type KernelModules, moduleIndexFault, modulesIn } from './modules.ts';

/** Kinds of files that each host makes for its initrd, and what is held against each. */
export const madeKinds = {
  empty: 'nothing in it, and not to be run',
  order: 'runs scripts that are there, in their folder',
  modules: 'names modules that are there',
  libraries: 'names libraries that are there, each by its own name',
  settings: 'sets known words to plain values',
  folders: 'names folders of libraries',
  text: 'is read by people alone',
  login: 'lets root log in with the folder that a hook made, as dropbear needs it',
  seed: 'is mixed into random numbers',
} as const;
export type MadeKind = keyof typeof madeKinds;

/** Of one initrd, found once. */
export interface MadeContext {
  readonly contents: InitrdContents;
  readonly modulesOf: (folder: string) => Generator<void, KernelModules>;
  readonly logins: () => ReturnType<typeof loginFiles>;
}

export function madeContext(contents: InitrdContents): MadeContext {
  const known = new Map<string, KernelModules>();
  let logins: ReturnType<typeof loginFiles> | null = null;
  return {
    contents,
    logins: () => {
      logins ??= loginFiles(contents);
      return logins;
    },
    *modulesOf(folder) {
      const its = known.get(folder) ?? (yield* modulesIn(contents, folder));
      known.set(folder, its);
      return its;
    },
  };
}

/**
 * By which rule a file that no list has is known, or why it is not by that which speaks of its path; null where none does. In
 * steps of some milliseconds.
 */
export function* madeOnHost(
  entry: InitrdEntry,
  context: MadeContext,
): Generator<void, { readonly kind: MadeKind; readonly fault: string | null } | null> {
  if (entry.bytes === 0 && !isExecutable(entry) && mayBeEmpty.test(entry.path))
    return { kind: 'empty', fault: null };
  if (isSeed(entry)) return { kind: 'seed', fault: null };
  if (isLogin(entry, context)) return { kind: 'login', fault: null };
  const rule = rules.find(({ path }) => path.test(entry.path));
  if (rule === undefined) return null;
  const { kind } = rule;
  if (kind !== 'order' && isExecutable(entry)) return { kind, fault: 'it may be run' };
  const bytes = context.contents.bytesOf(entry);
  if (bytes === null) return { kind, fault: 'nobody kept what is in it: it is too large' };
  try {
    return { kind, fault: yield* rule.fault(bytes, entry, context) };
  } catch (error) {
    if (error instanceof Rejection) return { kind, fault: error.message };
    throw error;
  }
}

function isLogin({ path, sha256, mode }: InitrdEntry, { logins }: MadeContext): boolean {
  if (!path.startsWith('etc/') || (mode & 0o111) !== 0) return false;
  return (
    logins()
      .get(path)
      ?.has(sha256 ?? '') ?? false
  );
}

/** Attack: a unit, a rule of udev or a script is emptied, which masks it, as in each folder of which /usr/lib has another one. dracut does so to its emergency unit. */
const mayBeEmpty =
  /^(?:(?:etc|run)\/(?!(?:systemd|udev|(?:modprobe|sysctl|tmpfiles|sysusers|modules-load|environment)\.d)\/)|conf\/|usr\/lib\/(?:passwd|group)$|var\/lib\/iscsi\/nodes\/\.dracut$|usr\/lib\/dracut\/(?!hooks\/)|usr\/lib\/systemd\/system\/emergency\.service$)/;

interface Rule {
  readonly kind: MadeKind;
  readonly path: RegExp;
  fault(bytes: Buffer, entry: InitrdEntry, context: MadeContext): Generator<void, string | null>;
}

const rules: readonly Rule[] = [
  { kind: 'order', path: /^scripts\/[^/]+\/ORDER$/, fault: orderFault },
  {
    kind: 'modules',
    path: /^(?:usr\/)?lib\/modules\/[^/]+\/modules\.[a-z.]+$/,
    *fault(bytes, { path }, { contents, modulesOf }) {
      const [, folder = '', name = ''] = /^(.*)\/([^/]+)$/.exec(path) ?? [];
      return yield* moduleIndexFault(name, bytes, yield* modulesOf(folder), contents);
    },
  },
  { kind: 'libraries', path: /^etc\/ld\.so\.cache$/, fault: librariesFault },
  {
    kind: 'settings',
    path: /^conf\/(?:initramfs\.conf|arch\.conf|conf\.d\/[^/]+)$/,
    fault: (bytes) => settingsFault(bytes, isOfInitramfs),
  },
  {
    kind: 'settings',
    path: /^usr\/lib\/(?:initrd|os)-release$/,
    fault: (bytes) => settingsFault(bytes, isOfRelease),
  },
  { kind: 'settings', path: /^conf\/modules$/, fault: moduleNamesFault },
  { kind: 'folders', path: /^etc\/ld\.so\.conf(?:\.d\/[^/]+\.conf)?$/, fault: foldersFault },
  {
    kind: 'text',
    path: /^(?:etc\/motd|usr\/lib\/dracut\/(?:build-parameter\.txt|modules\.txt|dracut-[0-9][^/]*))$/,
    fault: (bytes) => faultInLines(bytes, () => null),
  },
];

/** Attack: a line that runs something else. The form is that of initramfs-tools' `cache_run_scripts`. */
function orderFault(
  bytes: Buffer,
  { path }: InitrdEntry,
  { contents }: MadeContext,
): Generator<void, string | null> {
  const folder = path.slice(0, -'ORDER'.length);
  return faultInLines(bytes, (line) => {
    if (line === '' || line === '[ -e /conf/param.conf ] && . /conf/param.conf') return null;
    const script = /^\/(scripts\/[^/]+\/[A-Za-z0-9_.+-]+)(?: "\$@")?$/.exec(line)?.[1];
    if (script === undefined || !script.startsWith(folder) || script === path)
      return `it has the line "${line}", which is none that mkinitramfs writes`;
    if (contents.at(script) === null) return `it runs /${script}, which is not there`;
    return null;
  });
}

/** Attack: a program gets another library than the one that it asks for. */
function* librariesFault(
  bytes: Buffer,
  _entry: InitrdEntry,
  { contents }: MadeContext,
): Generator<void, string | null> {
  let count = 0;
  for (const { name, path } of parseLibraryCache(bytes)) {
    if (++count % librariesInStep === 0) yield;
    if (path.slice(path.lastIndexOf('/') + 1) !== name) return `it gives "${path}" for "${name}"`;
    if (!/^\/(?:usr\/)?lib/.test(path) || contents.at(path) === null)
      return `it names ${path}, which is not there`;
  }
  return null;
}

const librariesInStep = 128;

/** Whether a word may have a value: what says where to boot from, or what to run, is none of them. */
type Words = (name: string, value: string) => boolean;

const plainWords: ReadonlySet<string> = new Set(
  'MODULES BUSYBOX COMPRESS COMPRESSLEVEL KEYMAP RUNSIZE DPKG_ARCH UMASK'.split(' '),
);
const standing: ReadonlyMap<string, readonly string[]> = new Map([
  ['FSTYPE', ['', 'auto']],
  ['NFSROOT', ['', 'auto']],
  ['DEVICE', ['']],
  ['RESUME', ['', 'none']],
]);

function isOfInitramfs(name: string, value: string): boolean {
  return plainWords.has(name) ? /^[a-z0-9%-]*$/i.test(value) : (standing.get(name)?.includes(value) ?? false);
}

/** As os-release has them: nobody asks for another name by these. */
function isOfRelease(name: string): boolean {
  return /^(?:[A-Z][A-Z_]*_)?(?:NAME|ID|LIKE|VERSION|CODENAME|URL|COLOR|LOGO|VARIANT|END)$/.test(name);
}

/** Attack: a file that is sourced sets PATH, runs a command, or names another disk. */
function settingsFault(bytes: Buffer, isAllowed: Words): Generator<void, string | null> {
  return faultInLines(bytes, (line) => {
    const said = literalLine(line);
    if (said === null) return 'a line is more than a word and its plain value';
    return said === 'nothing' || isAllowed(...said) ? null : `it sets ${said[0]} to "${said[1]}"`;
  });
}

function moduleNamesFault(bytes: Buffer): Generator<void, string | null> {
  const plain = /^(?:[ \t]*#.*|[ \t]*[A-Za-z0-9_-]*[ \t]*)$/;
  return faultInLines(bytes, (line) => (plain.test(line) ? null : `it gives options to a module: "${line}"`));
}

function foldersFault(bytes: Buffer): Generator<void, string | null> {
  const folder =
    /^(?:#.*|[ \t]*|include \/etc\/ld\.so\.conf\.d\/\*\.conf|\/(?:usr\/)?(?:local\/)?lib[A-Za-z0-9_./-]*)$/;
  return faultInLines(bytes, (line) =>
    folder.test(line) && !line.includes('..') ? null : `it has the line "${line}"`,
  );
}
