/**
 * Explains each file of an initrd: by a list of packages, at its path or at one to which makers of initrds move
 * it; as made by the host in a way that they do; or by what people vouch for. The ways of makers are rows, each
 * with source and date (`shipped-rules`), behind one interpreter (`initrd-rules`); see `docs/initrd.md`.
 */

import type { InitrdEntry, InitrdManifest } from '../../../formats/initrd-manifest.ts';
import { linkDigest } from '../../../formats/link-digest.ts';
import { mergedUsr } from '../../../formats/merged-usr.ts';
import type { ListedFile } from '../../../formats/packed-list.ts';
import type { ListedFiles } from '../../listed-files.ts';
import { InitrdContents, typeOf } from './contents.ts';
import {
  alikeDigest,
  isKnownLink,
  isMoved,
  isUsualDevice,
  keyScriptFault,
  lastingPlace,
  type MadeContext,
  type MadeKind,
  madeContext,
  madeOnHost,
  maySetId,
  vouchedKind,
} from './initrd-rules.ts';

/** Lists of known files, those that know a file longest first. */
export interface InitrdLists {
  readonly active: readonly ListedFiles[];
  readonly revoked: readonly ListedFiles[];
  /** Retired and staged: they know why a file is not known any more, or not yet. */
  readonly idle: readonly ListedFiles[];
}

/** The judgement of an initrd, file by file. */
export interface JudgedInitrd {
  /** With one of them nothing is known of it, and nothing else is said here. */
  readonly faults: InitrdManifest['faults'];
  /** Files and links that count. */
  readonly count: number;
  /** Files that references have: name -> how many. */
  readonly listed: ReadonlyMap<string, number>;
  /** Files that are made on the host, by their rule. */
  readonly made: ReadonlyMap<MadeKind, number>;
  /** Unknown files, at most `mostKept`, and how many there are. */
  readonly unknown: readonly UnknownEntry[];
  readonly unknownCount: number;
  /** The first file that only a revoked reference has. */
  readonly revoked: { readonly entry: InitrdEntry; readonly reference: ListedFiles } | null;
  /** A reference that is not in force, and has all that is unknown. */
  readonly outOfForce: string | null;
  /** Paths that the archives have more than once, at most `mostKept`. */
  readonly twice: readonly string[];
}

export interface UnknownEntry {
  readonly entry: InitrdEntry;
  /** A clause for a person. */
  readonly why: string;
  /** The text of a file that people must vouch for, as far as it is kept. */
  readonly text: string | null;
  /** As a list has it that makes it known: SHA-256, hex; null if none does. */
  readonly listed: string | null;
}

/** At most this many are reported. */
const mostKept = 48;
const entriesInStep = 64;

/** In steps of some milliseconds. */
export function* judgeInitrd(manifest: InitrdManifest, lists: InitrdLists): Generator<void, JudgedInitrd> {
  const { faults } = manifest;
  if (faults.length > 0) return { ...nothing, faults };
  const contents = yield* InitrdContents.of(manifest);
  const context = madeContext(contents);
  const listed = new Map<string, number>();
  const made = new Map<MadeKind, number>();
  const unknown: UnknownEntry[] = [];
  const idle = new Set(lists.idle);
  let revoked: JudgedInitrd['revoked'] = null;
  let count = 0;
  let unknownCount = 0;
  let done = 0;
  for (const entry of contents.entries()) {
    if (++done % entriesInStep === 0 || contents.tookLong()) yield;
    const type = typeOf(entry);
    if (type !== 'directory') count += 1;
    const found = yield* judgeEntry(entry, type, lists.active, context, unknown.length < mostKept);
    if (typeof found !== 'string' && 'reference' in found) {
      listed.set(found.reference.name, (listed.get(found.reference.name) ?? 0) + 1);
      continue;
    }
    const bad: ListedFiles | null = revoked === null ? revokedWith(entry, lists.revoked) : null;
    if (bad !== null) revoked = { entry, reference: bad };
    if (typeof found !== 'string' && bad === null) {
      if ('kind' in found && found.kind !== null) {
        made.set(found.kind, (made.get(found.kind) ?? 0) + 1);
        // Many of them, of some KB each, are long together.
        yield;
      }
      continue;
    }
    unknownCount += 1;
    if (unknownCount <= mostKept) yield;
    for (const one of idle) if (knownIn([one], entry, type, contents) === null) idle.delete(one);
    if (unknown.length < mostKept)
      unknown.push({
        entry,
        why: typeof found === 'string' ? found : 'a revoked reference has it',
        text: textOf(entry, contents),
        listed: listedAs(entry, type, contents),
      });
  }
  const [known] = idle;
  return {
    faults,
    count,
    listed,
    made,
    unknown,
    unknownCount,
    revoked,
    outOfForce: unknownCount > 0 && known !== undefined ? known.name : null,
    twice: manifest.entries
      .filter((one) => one.replaced && typeOf(one) !== 'directory')
      .slice(0, mostKept)
      .map(({ path }) => path),
  };
}

const nothing: JudgedInitrd = {
  faults: [],
  count: 0,
  listed: new Map(),
  made: new Map(),
  unknown: [],
  unknownCount: 0,
  revoked: null,
  outOfForce: null,
  twice: [],
};

/** By which list or rule an entry is known; a clause that says why it is not. */
type EntryOrigin = { readonly reference: ListedFiles } | { readonly kind: MadeKind | null };

function* judgeEntry(
  entry: InitrdEntry,
  type: ReturnType<typeof typeOf>,
  active: readonly ListedFiles[],
  context: MadeContext,
  isTold: boolean,
): Generator<void, EntryOrigin | string> {
  const { contents } = context;
  const { path, target } = entry;
  const wrongMode = modeFault(entry, type);
  if (wrongMode !== null) return wrongMode;
  switch (type) {
    case 'directory':
      return { kind: null };
    case 'device':
      return isUsualDevice(entry) ? { kind: null } : 'a device that no initrd needs';
    case 'other':
      return 'neither a file nor a link';
    case 'link': {
      const reference = knownIn(active, entry, type, contents);
      if (reference !== null) return { reference };
      if (target !== undefined && isKnownLink(path, target)) return { kind: null };
      return `a link to ${target} that no list has`;
    }
    case 'file': {
      const reference = knownIn(active, entry, type, contents);
      if (reference !== null) {
        const fault = keyScriptFault(entry, contents);
        return fault === null ? { reference } : fault;
      }
      const known = yield* madeOnHost(entry, context);
      const fault = known?.kind === 'empty' ? emptiedFault(entry, active) : (known?.fault ?? null);
      if (known !== null && fault === null) return { kind: known.kind };
      // Attack: to find where else a file lies is dear, and a hundred thousand of them are unknown.
      return isTold ? whyUnknown(entry, active, fault) : 'unknown';
    }
  }
}

/** Attack: a file of a package is emptied, so that what it says is not said. */
function emptiedFault(entry: InitrdEntry, active: readonly ListedFiles[]): string | null {
  const path = placeOf(entry);
  if (path === '/usr/lib/systemd/system/emergency.service') return null;
  const list = active.find(({ files }) => files.filesAt(path).length > 0);
  return list === undefined ? null : `it is empty, and ${list.name} has another one`;
}

/** Attack: a program that others may change, or that gives its rights to whoever runs it. Makers of initrds give all to root. */
function modeFault(
  { path, mode, uid = 0, gid = 0 }: InitrdEntry,
  type: ReturnType<typeof typeOf>,
): string | null {
  if (type === 'link' || type === 'device') return null;
  if (uid !== 0) return `it belongs to user ${uid}, who may change it`;
  if (gid !== 0 && (mode & 0o020) !== 0) return `group ${gid} may write to it`;
  const isSticky = (mode & 0o1000) !== 0;
  if ((mode & 0o002) !== 0 && !(type === 'directory' && isSticky)) return 'everybody may write to it';
  if (type === 'directory' || (mode & 0o6000) === 0) return null;
  return maySetId(path) ? null : 'it gives its rights to whoever runs it';
}

/** The list that has this at this path, or at one that its makers move to this. Attack: `true` copied over `cryptsetup`. */
function knownIn(
  lists: readonly ListedFiles[],
  entry: InitrdEntry,
  type: ReturnType<typeof typeOf>,
  contents: InitrdContents,
): ListedFiles | null {
  const digest = digestOf(entry);
  if (digest === null) return null;
  const path = placeOf(entry);
  const isHere = (file: ListedFile) =>
    mergedUsr(file.path) === path || (type === 'file' && isMoved(mergedUsr(file.path), path));
  for (const list of lists) {
    const index = list.files.find(digest);
    if (index < 0) continue;
    if (list.files.filesAt(path).some((file) => file.digest.equals(digest))) return list;
    // Files without bytes lie at thousands of paths.
    const places = entry.bytes === 0 || !contents.mayCompare(1) ? [] : list.files.filesOf(index);
    if (contents.mayCompare(places.length) && places.some(isHere)) return list;
  }
  const alike = type === 'file' ? alikeDigest(entry, contents) : null;
  if (alike === null) return null;
  return lists.find(({ files }) => files.filesAt(path).some((file) => file.digest.equals(alike))) ?? null;
}

/** Null for what a rule forbids, whatever list has it. */
function listedAs(
  entry: InitrdEntry,
  type: ReturnType<typeof typeOf>,
  contents: InitrdContents,
): string | null {
  if (modeFault(entry, type) !== null || keyScriptFault(entry, contents) !== null) return null;
  return (alikeDigest(entry, contents) ?? digestOf(entry))?.toString('hex') ?? null;
}

/** As lists have it; null for what they do not list. */
export function digestOf({ sha256, target }: InitrdEntry): Buffer | null {
  if (target !== undefined) return linkDigest(target);
  return sha256 === undefined ? null : Buffer.from(sha256, 'hex');
}

/** As lists name it, also those of siblings. */
export function placeOf({ path }: InitrdEntry): string {
  return lastingPlace(mergedUsr(`/${path}`));
}

function revokedWith(entry: InitrdEntry, revoked: readonly ListedFiles[]): ListedFiles | null {
  if (revoked.length === 0 || entry.bytes === 0) return null;
  const digest = digestOf(entry);
  return (digest && revoked.find(({ files }) => files.find(digest) >= 0)) ?? null;
}

function whyUnknown(entry: InitrdEntry, active: readonly ListedFiles[], fault: string | null): string {
  if (fault !== null) return fault;
  const vouched = vouchedKind(entry);
  if (vouched !== null) return `made on the host (${vouched.what}): somebody must vouch for it`;
  // Files without bytes are known at thousands of paths, of which none says anything.
  const digest = entry.bytes === 0 ? null : digestOf(entry);
  for (const { files, name } of active) {
    const index = digest === null ? -1 : files.find(digest);
    const [other] = index < 0 ? [] : files.filesOf(index);
    if (other !== undefined) return `known as ${other.path}${packageText(other)} of ${name}, and not here`;
  }
  for (const { files, name } of active) {
    const [same] = files.filesAt(placeOf(entry));
    if (same !== undefined) return `${name} has another one${packageText(same)}`;
  }
  return 'no list has it';
}

function packageText({ package: name }: ListedFile): string {
  return name === null ? '' : ` of package ${name}`;
}

/** Characters of a text that people are shown. */
const longestText = 1024;
/** At most. */
const bytesOfCharacter = 4;

function textOf(entry: InitrdEntry, contents: InitrdContents): string | null {
  if (vouchedKind(entry)?.isText !== true) return null;
  // A part of a long text would hold on to all of it, for as long as the judgement is remembered.
  const begin = contents.bytesOf(entry)?.subarray(0, bytesOfCharacter * longestText);
  return begin?.toString('utf8').slice(0, longestText) ?? null;
}
