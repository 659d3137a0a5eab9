import { hash } from 'node:crypto';
import { z } from 'zod';
import { limits } from '../wire/limits.ts';
import { parseJson } from '../wire/parse-json.ts';
import { Rejection } from '../wire/rejection.ts';

/**
 * The files of an initrd: made by the server from the image that a node sent, once the image has the measured digest. The
 * image is not kept. References that come or go later are compared with this.
 */
export interface InitrdManifest {
  readonly version: 1;
  /** The whole image, as loaders measure it: bytes, and hex digests. */
  readonly image: {
    readonly bytes: number;
    readonly sha256: string;
    readonly sha384: string;
    readonly sha512: string;
  };
  /** The archives in it, one after the other, as the kernel unpacks them. */
  readonly archives: readonly InitrdArchive[];
  /** In the order in which the kernel makes them. */
  readonly entries: readonly InitrdEntry[];
  /** Files that are made on the host, where a rule reads what is in them: SHA-256 -> base64. */
  readonly contents: Readonly<Record<string, string>>;
  /** Faults that keep this from listing all that the kernel unpacks: with one of them nothing is known of the initrd. */
  readonly faults: readonly InitrdFault[];
}

/** The banks by which an image is known: no two images have one digest of these. */
export const imageBanks = ['sha256', 'sha384', 'sha512'] as const;
type ImageBank = (typeof imageBanks)[number];

/**
 * True for the image that was measured with these digests.
 * Attack: an image that has the digest of one bank, beside a log that names another one in the next.
 */
export function isImageOf(
  image: Readonly<Record<ImageBank, string>>,
  { digests }: { readonly digests: Readonly<Partial<Record<ImageBank, string>>> },
): boolean {
  const held = imageBanks.filter((bank) => digests[bank] !== undefined);
  return held.length > 0 && held.every((bank) => digests[bank] === image[bank]);
}

export interface InitrdArchive {
  /** Where it begins in the image. */
  readonly offset: number;
  readonly compression: 'none' | 'gzip' | 'zstd';
  readonly entries: number;
}

export interface InitrdEntry {
  /** Where the kernel puts it: without a slash before it, links on the way followed; printable characters, others escaped. */
  readonly path: string;
  /** st_mode, with the bits of its type. */
  readonly mode: number;
  /** Absent: 0. */
  readonly uid?: number;
  readonly gid?: number;
  /** The size of a file. */
  readonly bytes?: number;
  readonly sha256?: string;
  /** The target of a symbolic link, as it stands there. */
  readonly target?: string;
  /** The numbers of a device: major and minor. */
  readonly device?: readonly [number, number];
  /**
   * Its content, or all of it, gave way to a later entry. It counts as well: what is in `kernel/` is read before the archives are
   * unpacked, by name, and there the first one counts.
   */
  readonly replaced?: true;
  /** The kernel does not make it, mostly because there is no such folder. The path is as it stands in the archive. */
  readonly unmade?: true;
}

export interface InitrdFault {
  /** Byte of the image: where the archive begins that has it, or where none does. */
  readonly offset: number;
  readonly code: 'compression' | 'malformed' | 'path' | 'too_large' | 'trailing';
  /** A sentence for a person. */
  readonly text: string;
}

/**
 * A manifest as it is written: a line of JSON each for what it is of, for each entry, and for each content. Whole lines, of some
 * 256 KiB at a time, so that nobody has to write or read all of it at once.
 */
export function* manifestChunks(manifest: InitrdManifest): Generator<Buffer> {
  let lines: string[] = [];
  let length = 0;
  for (const line of linesOf(manifest)) {
    lines.push(line, '\n');
    length += line.length + 1;
    if (length < chunkLength) continue;
    yield Buffer.from(lines.join(''));
    [lines, length] = [[], 0];
  }
  if (length > 0) yield Buffer.from(lines.join(''));
}

/** The same read back, in steps of some milliseconds. @param chunks of whole lines @throws Rejection `malformed`, `too_large` */
export function* parseInitrdManifest(chunks: Iterable<Buffer>): Generator<void, InitrdManifest> {
  let begin: ManifestHead | null = null;
  let size = 0;
  const entries: InitrdEntry[] = [];
  const contents: [string, string][] = [];
  for (const chunk of chunks) {
    size += chunk.length;
    if (size > most.bytes) throw tooLarge(`more than ${most.bytes} bytes`);
    for (const line of wholeLines(chunk)) {
      if (begin === null) begin = parseHead(line);
      else if (entries.length < begin.entries) entries.push(parseEntry(line));
      else contents.push(parseContent(line, contents.at(-1)?.[0] ?? '', contents.length < begin.contents));
    }
    yield;
  }
  if (begin === null || entries.length < begin.entries || contents.length < begin.contents)
    throw malformed('it ends early', what);
  const { version, image, archives, faults } = begin;
  return { version, image, archives, entries, contents: Object.fromEntries(contents), faults };
}

function* linesOf(manifest: InitrdManifest): Generator<string> {
  const { entries } = manifest;
  const kept = Object.entries(manifest.contents).sort(([one], [other]) => (one < other ? -1 : 1));
  yield JSON.stringify(writtenHead({ ...manifest, entries: entries.length, contents: kept.length }));
  for (const entry of entries) yield JSON.stringify(written(entry));
  for (const content of kept) yield JSON.stringify(content);
}

function wholeLines(chunk: Buffer): readonly string[] {
  const lines = chunk.toString('utf8').split('\n');
  // Attack: blocks without end, of nothing.
  if (lines.pop() !== '' || lines.length === 0) throw malformed('a line that has no end', what);
  return lines;
}

function parseHead(line: string): ManifestHead {
  const said = parseJson(line, head, what);
  checkForm(line, writtenHead(said), what);
  return said;
}

function parseEntry(line: string): InitrdEntry {
  const said = parseJson(line, entrySchema, what, 'entries');
  checkForm(line, written(said), 'entries');
  return said;
}

/** @param before the digest of the one before it @param isDue one more is to come */
function parseContent(line: string, before: string, isDue: boolean): [string, string] {
  if (!isDue) throw malformed('it has more lines than it says', 'contents');
  const said = parseJson(line, content, what, 'contents');
  const [sha256, text] = said;
  checkForm(line, said, 'contents');
  if (sha256 <= before) throw malformed('contents out of order', 'contents');
  // Attack: a text that a rule would take for the file whose digest stands before it.
  if (hash('sha256', Buffer.from(text, 'base64')) !== sha256)
    throw malformed('a content that is another one than its digest says', 'contents');
  return said;
}

/** Refuses a second spelling of one line: it would have a second digest. */
function checkForm(line: string, said: unknown, field: string): void {
  if (JSON.stringify(said) !== line) throw malformed('it is not written as the server writes it', field);
}

/** Members in one order; those that are absent are not written. */
function written(entry: InitrdEntry): Readonly<Record<keyof InitrdEntry, unknown>> {
  const { path, mode, uid, gid, bytes, sha256, target, device, replaced, unmade } = entry;
  return { path, mode, uid, gid, bytes, sha256, target, device, replaced, unmade };
}

function writtenHead({ version, image, archives, faults, entries, contents }: ManifestHead): ManifestHead {
  const { bytes, sha256, sha384, sha512 } = image;
  return {
    version,
    image: { bytes, sha256, sha384, sha512 },
    archives: archives.map(({ offset, compression, entries: count }) => ({
      offset,
      compression,
      entries: count,
    })),
    faults: faults.map(({ offset, code, text }) => ({ offset, code, text })),
    entries,
    contents,
  };
}

interface ManifestHead extends Omit<InitrdManifest, 'entries' | 'contents'> {
  /** How many lines follow. */
  readonly entries: number;
  readonly contents: number;
}

const what = 'initrd manifest';
const chunkLength = 256 * 1024;

/** The bounds of a reader with its usual ones; an entry may stand there twice. */
const most = {
  bytes: limits.initrd.unpackedManifest,
  archives: limits.initrd.archives,
  entries: 2 * limits.initrd.entries,
  faults: 32,
  path: 4096,
};

const digest = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const count = z.int().min(0);
const code = z.enum(['compression', 'malformed', 'path', 'too_large', 'trailing']);
const head = z.strictObject({
  version: z.literal(1),
  image: z.strictObject({ bytes: count, sha256: digest(32), sha384: digest(48), sha512: digest(64) }),
  archives: z
    .array(z.strictObject({ offset: count, compression: z.enum(['none', 'gzip', 'zstd']), entries: count }))
    .max(most.archives),
  faults: z.array(z.strictObject({ offset: count, code, text: z.string().max(256) })).max(most.faults),
  entries: count.max(most.entries),
  contents: count.max(most.entries),
});
// By hand: there are twenty thousand of them, and a schema takes ten times as long.
const entrySchema = z.custom<InitrdEntry>(isEntry);
const content = z.tuple([digest(32), z.string()]);

function tooLarge(text: string): Rejection {
  return new Rejection('too_large', `a manifest of an initrd has ${text}`, { field: what });
}

function malformed(text: string, field: string): Rejection {
  return new Rejection('malformed', `no manifest of an initrd: ${text}`, { field });
}

/** Whether each member is what it has to be; others are found as the whole is rewritten. */
function isEntry(value: unknown): value is InitrdEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { path, mode, uid, gid, bytes, sha256, target, device, replaced, unmade }: Partial<UncheckedEntry> =
    value;
  return (
    isName(path) &&
    isNumber(mode, 0xffff) &&
    [uid, gid, bytes].every((one) => one === undefined || isNumber(one, 0xffff_ffff)) &&
    (sha256 === undefined || (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256))) &&
    (target === undefined || isName(target)) &&
    (device === undefined || isDevice(device)) &&
    [replaced, unmade].every((one) => one === undefined || one === true)
  );
}

type UncheckedEntry = Readonly<Record<keyof InitrdEntry, unknown>>;

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.length <= most.path;
}

function isNumber(value: unknown, highest: number): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= highest;
}

function isDevice(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every((one) => isNumber(one, 0xf_ffff));
}
