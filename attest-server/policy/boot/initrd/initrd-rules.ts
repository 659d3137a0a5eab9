import { hash } from 'node:crypto';
import type { InitrdEntry } from '../../../formats/initrd-manifest.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { maskIdentifiers } from '../masked-text.ts';
import { busyboxApplets } from './busybox-applets.ts';
import { type InitrdContents, isExecutable, typeOf } from './contents.ts';
import type { MadeRule } from './initrd-maker.ts';
import { parseLibraryCache } from './library-cache.ts';
import { faultInLines, literalLine } from './literal-lines.ts';
import { type KernelModules, moduleIndexFault, modulesIn } from './modules.ts';
import { initrdMakers } from './shipped-rules.ts';

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

const moves = initrdMakers.flatMap(({ moves: its = [] }) => its);
const links = initrdMakers.flatMap(({ links: its = [] }) => its);
const units = initrdMakers.flatMap(({ units: its = [] }) => its);
const made = initrdMakers.flatMap(({ made: its = [] }) => its);
const texts = initrdMakers.flatMap(({ texts: its = [] }) => its);
const unread = initrdMakers.flatMap(({ unread: its = [] }) => its);
const temporary = initrdMakers.flatMap(({ temporary: its = [] }) => its);
const places = initrdMakers.flatMap(({ places: its }) => its ?? []);
const devices = new Set(initrdMakers.flatMap(({ devices: its = [] }) => its.map((one) => `dev/${one}`)));
const setuid = new Set(initrdMakers.flatMap(({ setuid: its = [] }) => its));

/**
 * True if a file of this path is put at the other one when an initrd is made, or is busybox under one of its names.
 * @param from path of the file in its package @param to path in the initrd; both begin with a slash, and below /usr
 */
export function isMoved(from: string, to: string): boolean {
  return (
    isApplet(from, to) ||
    moves.some(([source, place]) => {
      const found = source.exec(from);
      const put = found === null ? null : place.exec(to);
      return put !== null && found?.groups?.name === put.groups?.name;
    })
  );
}

/**
 * Busybox does what it is called by: its hooks make these names on the host, as hard links. Attack: it is put in place of a
 * program that it is not, so that this one fails.
 */
function isApplet(from: string, to: string): boolean {
  const name = /^\/usr\/s?bin\/([^/]+)$/.exec(to)?.[1];
  return name !== undefined && busybox.test(from) && busyboxApplets.has(name);
}

const busybox = /^\/usr\/(?:bin|lib\/initramfs-tools\/bin)\/busybox$/;

/** True for a link that some rule knows by its path and target. What it leads to is judged where that lies. */
export function isKnownLink(path: string, target: string): boolean {
  if (links.some(([at, to]) => at.test(path) && to.test(target))) return true;
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (units.some((at) => at.test(path))) return unit.exec(target)?.[1] === name;
  // Attack: a library under the name of another one.
  if (library.test(path)) return !target.includes('/') && target.startsWith(`${name}.`);
  if (!program.test(path)) return false;
  const to = /^(?:\.\.\/s?bin\/|\/(?:usr\/)?s?bin\/)?([^/]+)$/.exec(target)?.[1];
  return (to === name && target !== name) || (to === 'busybox' && busyboxApplets.has(name));
}

const unit = /^(?:\.\.\/|\/usr\/lib\/systemd\/system\/)([^/]+)$/;
const library = /^usr\/lib(?:32|64|x32)?\/(?:[^/]+\/)?([^/]+\.so(?:\.[^/]+)?)$/;
const program = /^usr\/s?bin\/[^/]+$/;

export const isUsualDevice = ({ path, device }: InitrdEntry): boolean =>
  devices.has(`${path} ${device?.join(':')}`);

/** Whether it has, of its package, the right to give its rights to whoever runs it. */
export const maySetId = (path: string): boolean => setuid.has(path.slice(path.lastIndexOf('/') + 1));

/** A text with the pattern in place of each name that is another one each time, and without such dates. */
function maskTemporaryNames(text: string): string {
  let masked = text;
  for (const [found, name] of temporary) masked = masked.replace(found, name);
  return masked;
}

/** The place of a file by which siblings have it. @param path begins with a slash */
export function lastingPlace(path: string): string {
  return places.some((place) => place.test(path)) ? maskTemporaryNames(path) : path;
}

/** Facts on one initrd, found once. */
export interface MadeContext {
  readonly contents: InitrdContents;
  readonly modulesOf: (folder: string) => Generator<void, KernelModules>;
  /** Digests of the texts of rules of `login`, by the rule. */
  readonly logins: () => ReadonlyMap<MadeRule, ReadonlySet<string>>;
}

export function madeContext(contents: InitrdContents): MadeContext {
  const known = new Map<string, KernelModules>();
  let logins: ReturnType<MadeContext['logins']> | null = null;
  return {
    contents,
    logins: () => {
      logins ??= loginTexts(contents);
      return logins;
    },
    *modulesOf(folder) {
      const its = known.get(folder) ?? (yield* modulesIn(contents, folder));
      known.set(folder, its);
      return its;
    },
  };
}

function loginTexts(contents: InitrdContents): ReadonlyMap<MadeRule, ReadonlySet<string>> {
  const texts = new Map<MadeRule, Set<string>>();
  for (const rule of made) {
    if (rule.kind !== 'login') continue;
    const { text, home } = rule;
    const digests = new Set(home === undefined ? [hash('sha256', text)] : []);
    texts.set(rule, digests);
    if (home === undefined) continue;
    // Attack: folders without end.
    for (const entry of contents.entries())
      if (digests.size < mostHomes && typeOf(entry) === 'directory' && home.test(entry.path))
        digests.add(hash('sha256', text.replace('HOME', entry.path)));
  }
  return texts;
}

const mostHomes = 4;

/**
 * By which rule a file that no list has is known, or why it is not by that which speaks of its path; null if none does. In
 * steps of some milliseconds.
 */
export function* madeOnHost(
  entry: InitrdEntry,
  context: MadeContext,
): Generator<void, { readonly kind: MadeKind; readonly fault: string | null } | null> {
  const rules = made.filter(({ at }) => at.test(entry.path));
  const whole = rules.find((rule) => isWhole(rule, entry, context));
  if (whole !== undefined) return { kind: whole.kind, fault: null };
  const rule = rules.find(isOfContents);
  if (rule === undefined) return null;
  const { kind } = rule;
  if (kind !== 'order' && isExecutable(entry)) return { kind, fault: 'it may be run' };
  const bytes = context.contents.bytesOf(entry);
  if (bytes === null) return { kind, fault: 'nobody kept what is in it: it is too large' };
  try {
    return { kind, fault: yield* faultOf(rule, bytes, entry, context) };
  } catch (error) {
    if (error instanceof Rejection) return { kind, fault: error.message };
    throw error;
  }
}

/** Known without a look into it. */
function isWhole(rule: MadeRule, entry: InitrdEntry, { logins }: MadeContext): boolean {
  if (rule.kind === 'empty') return entry.bytes === 0 && !isExecutable(entry);
  if (rule.kind === 'seed') return (entry.bytes ?? 0) <= rule.most && !isExecutable(entry);
  return (
    rule.kind === 'login' &&
    !isExecutable(entry) &&
    logins()
      .get(rule)
      ?.has(entry.sha256 ?? '') === true
  );
}

type ContentRule = Exclude<MadeRule, { readonly kind: 'empty' | 'seed' | 'login' }>;
const isOfContents = (rule: MadeRule): rule is ContentRule => !['empty', 'seed', 'login'].includes(rule.kind);

function faultOf(
  rule: ContentRule,
  bytes: Buffer,
  { path }: InitrdEntry,
  context: MadeContext,
): Generator<void, string | null> {
  if ('assigns' in rule) return settingsFault(bytes, rule.assigns);
  if ('lines' in rule) {
    const { lines, otherwise = 'it has the line' } = rule;
    return faultInLines(bytes, (line) => (lines.test(line) ? null : `${otherwise} "${line}"`));
  }
  if (rule.kind === 'modules') return modulesFault(bytes, path, context);
  return rule.kind === 'order' ? orderFault(bytes, path, context) : librariesFault(bytes, context);
}

function* modulesFault(
  bytes: Buffer,
  path: string,
  { contents, modulesOf }: MadeContext,
): Generator<void, string | null> {
  const [, folder = '', name = ''] = /^(.*)\/([^/]+)$/.exec(path) ?? [];
  return yield* moduleIndexFault(name, bytes, yield* modulesOf(folder), contents);
}

/** Attack: a line that runs something else. The form is that of initramfs-tools' `cache_run_scripts`. */
function orderFault(bytes: Buffer, path: string, { contents }: MadeContext): Generator<void, string | null> {
  const folder = path.slice(0, -'ORDER'.length);
  return faultInLines(bytes, (line) => {
    if (line === '' || line === '[ -e /conf/param.conf ] && . /conf/param.conf') return null;
    const script = /^\/(scripts\/[^/]+\/[A-Za-z0-9_.+-]+)(?: "\$@")?$/.exec(line)?.[1];
    if (script === undefined || !script.startsWith(folder) || script === path)
      return `it has the line "${line}", which is none that mkinitramfs writes`;
    return contents.at(script) === null ? `it runs /${script}, which is not there` : null;
  });
}

/** Attack: a program gets another library than the one that it asks for. */
function* librariesFault(bytes: Buffer, { contents }: MadeContext): Generator<void, string | null> {
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

/** Attack: a file that is sourced sets PATH, runs a command, or names another disk. */
function settingsFault(
  bytes: Buffer,
  assigns: readonly (readonly [word: RegExp, value: RegExp])[],
): Generator<void, string | null> {
  return faultInLines(bytes, (line) => {
    const said = literalLine(line);
    if (said === null) return 'a line is more than a word and its plain value';
    if (said === 'nothing') return null;
    const [word, value] = said;
    const isAllowed = assigns.some(([its, of]) => its.test(word) && of.test(value));
    return isAllowed ? null : `it sets ${word} to "${value}"`;
  });
}

/**
 * The kind of a file that somebody must vouch for; its text is shown if `isText`, and counts with the identifiers of the
 * machine masked.
 */
export function vouchedKind({
  path,
}: InitrdEntry): { readonly what: string; readonly isText: boolean } | null {
  const isHere = ([at]: readonly [RegExp, string]) => at.test(path);
  const text = texts.find(isHere);
  const [, what] = text ?? unread.find(isHere) ?? [];
  return what === undefined ? null : { what, isText: text !== undefined };
}

/** Bytes of a text that counts so; a longer one counts by its digest alone. */
const longestAlike = 64 * 1024;

/** The digest in a list for the text of such a file on all machines that are alike; null if it is no text. */
export function alikeDigest(entry: InitrdEntry, contents: InitrdContents): Buffer | null {
  const bytes = vouchedKind(entry)?.isText === true ? contents.bytesOf(entry) : null;
  // Attack: texts of a megabyte, each masked at one go.
  if (bytes === null || bytes.length > longestAlike) return null;
  const text = maskTemporaryNames(maskIdentifiers(bytes.toString('latin1')));
  return hash('sha256', `alike\0${text}`, 'buffer');
}

/**
 * Why a crypttab that somebody vouches for is no good in this initrd: the script that gives it keys is run. Attack: the same
 * crypttab beside another script.
 */
export function keyScriptFault(entry: InitrdEntry, contents: InitrdContents): string | null {
  if (!/^(?:cryptroot|etc)\/crypttab$/.test(entry.path)) return null;
  const text = contents.bytesOf(entry)?.toString('latin1') ?? '';
  for (const [, script = ''] of text.matchAll(/(?:^|[\s,])keyscript=([^\s,]+)/gm)) {
    const path = script.includes('/') ? script : `/usr/lib/cryptsetup/scripts/${script}`;
    if (contents.at(path) === null) return `its keyscript ${script} is not there`;
  }
  return null;
}
