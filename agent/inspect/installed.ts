import { createHash, hash } from 'node:crypto';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { authenticodeDigests } from '../../attest-server/verify/boot/pe-image.ts';
import type { InstalledFile, InstalledPart } from '../../attest-server/wire/installed.ts';
import { compareKernels, parseKernelRelease } from '../../attest-server/wire/kernel-release.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import { bootLogPath } from '../collectors/boot-log.ts';
import { loaderTree, openRegular } from '../collectors/loader-tree.ts';
import { readBounded } from '../collectors/read-bounded.ts';
import type { BootIndex } from './boot-index.ts';

/** In the folder of `inspect`: JSON, UTF-8, the part `installed` and when it was read, by the node's clock. */
export const installedFile = 'installed.json';
export const writtenInstalled = z.strictObject({ at: z.iso.datetime(), installed: z.unknown() });

/** A unified image has its initrd in it. */
const most = { image: 128 * 1024 * 1024, images: 48, files: 48, unread: 16 };
const banks = ['sha256', 'sha384'] as const;

/**
 * The files that lie ready for the next boot: the newest kernel with its initrd, the images that started the present boot or took
 * the place of one, and Secure Boot's databases. Which entry a person chooses in a menu, nobody knows.
 * @param index of the same run: digests of initrds
 * @param before the part of an earlier run in this boot; null if there is none
 */
export async function inspectInstalled(
  sysroot: string,
  index: BootIndex,
  before: InstalledPart | null,
): Promise<InstalledPart> {
  const root = await realpath(sysroot);
  // What GRUB reads besides is compared by its commands, which no file shows.
  const unread = index.unread.filter((text) => text.includes('initr'));
  const log = await readBounded(join(root, bootLogPath), limits.parts.boot).catch(() => null);
  if (log === null) unread.push(`no log of the firmware: /${bootLogPath}`);
  const isBooted = (digests: readonly string[]) =>
    log !== null && digests.some((digest) => log.includes(Buffer.from(digest, 'hex')));
  const files: InstalledFile[] = [];
  const add = async (kind: InstalledFile['kind'], path: string, digests: readonly string[]) => {
    if (!isPlain(path)) return void unread.push(`${path}: ${unplain}`);
    const found = await lstat(join(root, path)).catch(() => null);
    const since = found === null ? null : new Date(Math.floor(found.ctimeMs)).toISOString();
    files.push({ kind, path, since, booted: isBooted(digests), digests: [...digests] });
  };
  const read = (path: string, isKernel: boolean) =>
    digestsOf(root, path, isKernel).catch((error: unknown) => {
      unread.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
      return null;
    });
  const images: string[] = [];
  for await (const path of loaderTree(root, isImage, new AbortController().signal, unread))
    images.push(relative(root, path));
  const started = new Set(before?.files.flatMap(({ kind, path }) => (kind === 'loader' ? [path] : [])));
  const loaders: string[] = [];
  const startable = images.filter((one) => /\.efi$/i.test(one));
  if (startable.length > most.images)
    unread.push(`of ${startable.length} images ${most.images} were looked at: remove what is in no use`);
  for (const path of startable.slice(0, most.images)) {
    const digests = await read(path, false);
    if (digests === null || !(started.has(path) || isBooted(digests)) || files.length >= most.files) continue;
    loaders.push(path);
    await add('loader', path, digests);
  }
  for (const path of started)
    if (!loaders.includes(path) && !isUnified(path)) unread.push(`${path} is gone, which started this boot`);
  if (log !== null && loaders.length === 0) unread.push('no boot loader of the present boot was found');
  const [kernel, ...alike] = newestKernels(images, loaders.some(isUnified));
  if (alike.length > 0) unread.push(`${kernel} and ${alike[0]} are of one version: either may start`);
  if (kernel === undefined) unread.push('no kernel was found below /boot and /efi');
  else await addKernel(kernel, index, { add, read, unread });
  await addDatabases(root, isBooted, add, unread);
  return { version: 1, files, unread: unread.map(printable).slice(0, most.unread) };
}

/** Where files are added, or why they are not. */
interface InstalledFiles {
  readonly add: (kind: InstalledFile['kind'], path: string, digests: readonly string[]) => Promise<void>;
  readonly read: (path: string, isKernel: boolean) => Promise<readonly string[] | null>;
  readonly unread: string[];
}

/** With its initrd: of several in one entry, the kernel's stub measures all as one. */
async function addKernel(
  kernel: string,
  index: BootIndex,
  { add, read, unread }: InstalledFiles,
): Promise<void> {
  const digests = await read(kernel, true);
  if (digests !== null) await add('kernel', kernel, digests);
  if (isUnified(kernel)) return;
  const [initrd, ...others] = index.files.filter(
    ({ kind, path }) => kind === 'initrd' && isInitrdOf(path, kernel),
  );
  if (initrd === undefined) unread.push(`no initrd of ${kernel} was found`);
  else if (others.length > 0) unread.push(`several initrds of ${kernel} may be measured as one`);
  else await add('initrd', initrd.path, [initrd.sha256, initrd.sha384]);
}

/** The part has room for no other path. */
const isPlain = (path: string) => /^[\x20-\x7e]{1,512}$/.test(path);
const unplain = 'left out: its path is longer than 512 bytes, or not of ASCII alone';
const isImage = (name: string) => /\.efi$/i.test(name) || /^(?:vmlinu[xz](?:$|-)|linux$)/.test(name);
const isUnified = (path: string) => /(?:^|\/)efi\/linux\/[^/]+\.efi$/i.test(path);

/**
 * Several only where they are of one version.
 * @param unified the present boot was started from such an image: kernels beside it start nothing
 */
function newestKernels(images: readonly string[], unified: boolean): readonly string[] {
  const kernels = images.filter((path) => (unified ? isUnified(path) : !/\.efi$/i.test(path)));
  const release = (path: string) => parseKernelRelease(versionOf(path));
  const newerFirst = (a: string, b: string): number => {
    const [left, right] = [release(a), release(b)];
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    return compareKernels(right, left) || byBuild(versionOf(b), versionOf(a));
  };
  const [newest, ...others] = kernels.sort((a, b) => newerFirst(a, b) || (a < b ? -1 : 1));
  return newest === undefined ? [] : [newest, ...others.filter((one) => newerFirst(newest, one) === 0)];
}

/** Builds of one release as GRUB and systemd-boot put them: Debian's `+deb13.1` is newer than `+deb13`, and `.old` is older than all. */
function byBuild(a: string, b: string): number {
  const isOld = (version: string) => Number(version.endsWith('.old'));
  return isOld(b) - isOld(a) || a.localeCompare(b, 'en', { numeric: true });
}

/** As the name says it, or that of the folder. */
function versionOf(path: string): string {
  const name = basename(path);
  const named = name === 'linux' ? basename(dirname(path)) : name;
  return named.slice(Math.max(0, named.search(/\d+\.\d+/))).replace(/\.efi$/i, '');
}

function isInitrdOf(path: string, kernel: string): boolean {
  if (basename(kernel) === 'linux') return dirname(path) === dirname(kernel);
  const version = /^vmlinu[xz]-?(.*)$/.exec(basename(kernel))?.[1] ?? '';
  const name = basename(path);
  return version === ''
    ? /^(?:initrd|initramfs)(?:\.img)?$/.test(name)
    : [
        `initrd.img-${version}`,
        `initrd-${version}`,
        `initramfs-${version}.img`,
        `initrd-${version}.img`,
      ].includes(name);
}

/** Of a kernel both may be measured: its file by GRUB, its image by the firmware. */
async function digestsOf(root: string, path: string, isKernel: boolean): Promise<readonly string[] | null> {
  // Also of one that did not start this boot: no later run would know it by its path.
  if (!isPlain(path)) throw new Error(unplain);
  const file = await openRegular(join(root, path));
  if (file === null) return null;
  try {
    const { size } = await file.stat();
    if (size > most.image) throw new Error(`left out: it has ${size} bytes`);
    const bytes = await file.readFile();
    const own = isKernel ? banks.map((bank) => hash(bank, bytes, 'hex')) : [];
    const image = Object.values(imageDigests(bytes, isKernel));
    return [...own, ...image];
  } finally {
    await file.close();
  }
}

/** Of a kernel that is no image of the firmware, none. */
function imageDigests(bytes: Buffer, isKernel: boolean): ReturnType<typeof authenticodeDigests> {
  try {
    return authenticodeDigests(bytes, banks);
  } catch (error) {
    if (isKernel) return {};
    throw error;
  }
}

const variables = 'sys/firmware/efi/efivars';
const global = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
const security = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';
const databases = [
  ['PK', global],
  ['KEK', global],
  ['db', security],
  ['dbx', security],
] as const;

/**
 * As the firmware measures them: UEFI_VARIABLE_DATA. PC Client PFP 1.06, section 10.2.6. The platform key changes with its owner
 * alone: where the log does not have it, this firmware measures variables in another way.
 */
async function addDatabases(
  root: string,
  isBooted: (digests: readonly string[]) => boolean,
  add: InstalledFiles['add'],
  unread: string[],
): Promise<void> {
  const names = await readdir(join(root, variables)).catch(() => null);
  if (names === null) return;
  if (names.length === 0) return void unread.push(`/${variables} is empty: is it mounted?`);
  for (const [name, guid] of databases) {
    const bytes = await readBounded(join(root, variables, `${name}-${guid}`), 1024 * 1024).catch(String);
    if (typeof bytes === 'string') return void unread.push(`${name}: ${bytes}`);
    const digests = banks.map((bank) =>
      variableDigest(bank, name, guid, bytes?.subarray(4) ?? Buffer.alloc(0)),
    );
    if (name === 'PK' && !isBooted(digests))
      return void unread.push('the firmware measures the databases of Secure Boot in a way of its own');
    await add('database', name, digests);
  }
}

function variableDigest(bank: string, name: string, guid: string, value: Buffer): string {
  const text = Buffer.from(name, 'utf16le');
  const lengths = Buffer.alloc(16);
  lengths.writeBigUInt64LE(BigInt(name.length), 0);
  lengths.writeBigUInt64LE(BigInt(value.length), 8);
  return createHash(bank).update(guidBytes(guid)).update(lengths).update(text).update(value).digest('hex');
}

/** The first three parts lie in memory backwards. */
function guidBytes(guid: string): Buffer {
  const [a = '', b = '', c = '', ...rest] = guid.split('-');
  const backwards = (hex: string) => Buffer.from(hex, 'hex').reverse();
  return Buffer.concat([backwards(a), backwards(b), backwards(c), Buffer.from(rest.join(''), 'hex')]);
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 256);
}
