import { hash } from 'node:crypto';
import { z } from 'zod';
import { limits } from './limits.ts';
import { parseJson } from './parse-json.ts';
import { Rejection } from './rejection.ts';

/**
 * What an initrd holds, file by file: made by the server of the image that a node sent, once the image has the measured
 * digest. The image is not kept. References that come or go later are compared with this.
 */
export interface InitrdManifest {
  readonly version: 1;
  /** Of the whole image, as loaders measure it: bytes, and hex digests. */
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
  /** What keeps this from telling all that the kernel unpacks: with one of them nothing is known of the initrd. */
  readonly faults: readonly InitrdFault[];
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
  /** Of a file. */
  readonly bytes?: number;
  readonly sha256?: string;
  /** Of a symbolic link, as it stands there. */
  readonly target?: string;
  /** Of a device: major and minor number. */
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

/** The one form in which a manifest is written: under the digest of these bytes it is kept. */
export function manifestBytes({
  version,
  image,
  archives,
  entries,
  contents,
  faults,
}: InitrdManifest): Buffer {
  const { bytes, sha256, sha384, sha512 } = image;
  return Buffer.from(
    JSON.stringify({
      version,
      image: { bytes, sha256, sha384, sha512 },
      archives: archives.map(({ offset, compression, entries: count }) => ({
        offset,
        compression,
        entries: count,
      })),
      entries: entries.map(written),
      contents: Object.fromEntries(Object.entries(contents).sort(([one], [other]) => (one < other ? -1 : 1))),
      faults: faults.map(({ offset, code, text }) => ({ offset, code, text })),
    }),
  );
}

/** @throws Rejection `malformed`, `too_large` */
export function parseInitrdManifest(bytes: Buffer): InitrdManifest {
  if (bytes.length > most.bytes)
    throw new Rejection('too_large', `a manifest of an initrd of ${bytes.length} bytes`, { field: what });
  const parsed: InitrdManifest = parseJson(bytes.toString('utf8'), manifest, what);
  // What is written in two ways would have two digests.
  if (!manifestBytes(parsed).equals(bytes))
    throw malformed('it is not written as the server writes it', what);
  // Attack: a text that a rule would take for the file whose digest stands before it.
  for (const [digest, content] of Object.entries(parsed.contents))
    if (hash('sha256', Buffer.from(content, 'base64')) !== digest)
      throw malformed('a content that is another one than its digest says', 'contents');
  return parsed;
}

/** Members in one order; those that are absent are not written. */
function written(entry: InitrdEntry): Readonly<Record<keyof InitrdEntry, unknown>> {
  const { path, mode, uid, gid, bytes, sha256, target, device, replaced, unmade } = entry;
  return { path, mode, uid, gid, bytes, sha256, target, device, replaced, unmade };
}

const what = 'initrd manifest';

/** Those of a reader with its usual bounds; an entry may stand there twice. */
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
const manifest = z.strictObject({
  version: z.literal(1),
  image: z.strictObject({ bytes: count, sha256: digest(32), sha384: digest(48), sha512: digest(64) }),
  archives: z
    .array(z.strictObject({ offset: count, compression: z.enum(['none', 'gzip', 'zstd']), entries: count }))
    .max(most.archives),
  // By hand: there are twenty thousand of them, and a schema takes ten times as long.
  entries: z.custom<readonly InitrdEntry[]>(
    (value) => Array.isArray(value) && value.length <= most.entries && value.every(isEntry),
  ),
  contents: z.record(digest(32), z.string()),
  faults: z.array(z.strictObject({ offset: count, code, text: z.string().max(256) })).max(most.faults),
});

function malformed(text: string, field: string): Rejection {
  return new Rejection('malformed', `no manifest of an initrd: ${text}`, { field });
}

/** Whether each member is what it has to be; others are found as the whole is written anew. */
function isEntry(value: unknown): value is InitrdEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { path, mode, uid, gid, bytes, sha256, target, device, replaced, unmade }: Partial<Entry> = value;
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

type Entry = Readonly<Record<keyof InitrdEntry, unknown>>;

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.length <= most.path;
}

function isNumber(value: unknown, highest: number): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= highest;
}

function isDevice(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every((one) => isNumber(one, 0xf_ffff));
}
