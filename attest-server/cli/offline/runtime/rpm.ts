import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { S_IFLNK, S_IFREG, typeOfMode } from '../../../formats/file-type.ts';
import { linkDigest } from '../../../formats/link-digest.ts';
import { mergedUsr } from '../../../formats/merged-usr.ts';
import type { ListedFile } from '../../../formats/packed-list.ts';
import { Rejection } from '../../../wire/rejection.ts';

/** The files and symbolic links of an rpm package: its header carries their digests. @throws Rejection `malformed`, `too_large` */
export function readRpm(path: string): readonly ListedFile[] {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const read = (count: number): Buffer => {
      if (count > size) throw malformed('it ends early', 'header', size);
      const bytes = Buffer.alloc(count);
      if (readSync(file, bytes, 0, count, 0) < count) throw malformed('it ends early', 'header', size);
      return bytes;
    };
    const main = endOfHeader(read(leadSize + introSize), leadSize);
    const begin = main + ((8 - (main % 8)) % 8);
    return parseRpm(read(endOfHeader(read(begin + introSize), begin)));
  } finally {
    closeSync(file);
  }
}

/**
 * The lead and both headers of a package, without its content (rpm's docs/manual/format_v4.md: lead, signature header padded to 8
 * bytes, header).
 * @throws Rejection `malformed`, with the field and the offset
 */
export function parseRpm(bytes: Buffer): readonly ListedFile[] {
  if (bytes.length < leadSize + introSize || bytes.readUInt32BE(0) !== leadMagic)
    throw malformed('it begins otherwise', 'magic', 0);
  if (bytes.readUInt16BE(6) === 1) throw malformed('it is a package of sources', 'type', 6);
  const signatures = endOfHeader(bytes, leadSize);
  const begin = signatures + ((8 - (signatures % 8)) % 8);
  const end = endOfHeader(bytes, begin);
  if (end !== bytes.length) throw malformed('it has another length than it says', 'header', end);
  return filesOf(new RpmHeader(bytes, begin));
}

const leadMagic = 0xedabeedb;
const leadSize = 96;
const headerMagic = 0x8eade801;
const introSize = 16;
const entrySize = 16;
const mostHeaderBytes = 64 * 1024 * 1024;

/** rpm's include/rpm/rpmtag.h. */
const tags = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  modes: 1030,
  digests: 1035,
  links: 1036,
  flags: 1037,
  folderOf: 1116,
  names: 1117,
  folders: 1118,
  algorithm: 5011,
} as const;

/** By the number of OpenPGP, the bytes of a digest; MD5 where none is named. */
const digestBytes: Readonly<Record<number, number>> = { 2: 20, 8: 32, 9: 48, 10: 64 };
/** rpm does not install it. */
const ghost = 1 << 6;

/** @param bytes may end after the 16 bytes that say how long it is */
function endOfHeader(bytes: Buffer, at: number): number {
  if (at + introSize > bytes.length) throw malformed('it ends early', 'header', bytes.length);
  if (bytes.readUInt32BE(at) !== headerMagic) throw malformed('no header', 'header', at);
  const length = bytes.readUInt32BE(at + 8) * entrySize + bytes.readUInt32BE(at + 12);
  if (length > mostHeaderBytes)
    throw new Rejection('too_large', `a header of ${length} bytes`, { field: 'header', offset: at + 8 });
  return at + introSize + length;
}

function filesOf(header: RpmHeader): readonly ListedFile[] {
  const names = header.texts(tags.names);
  if (names.length === 0) return [];
  const algorithm = header.numbers(tags.algorithm)[0] ?? 1;
  const length = digestBytes[algorithm];
  if (length === undefined)
    throw malformed(`its digests are of algorithm ${algorithm}, not of SHA-2`, 'algorithm', header.at);
  const folders = header.texts(tags.folders);
  const folderOf = header.numbers(tags.folderOf);
  const modes = header.numbers(tags.modes);
  const digests = header.texts(tags.digests);
  const links = header.texts(tags.links);
  const flags = header.numbers(tags.flags);
  if ([folderOf, modes, digests, flags].some((each) => each.length !== names.length))
    throw malformed('its lists of files are of several lengths', 'names', header.at);
  const name = packageOf(header);
  return names.flatMap((base, index) => {
    const digest = digests[index] ?? '';
    const type = typeOfMode(modes[index] ?? 0);
    const isLink = type === S_IFLNK && links.length === names.length;
    if ((type !== S_IFREG && !isLink) || ((flags[index] ?? 0) & ghost) !== 0) return [];
    if (!isLink && (digest.length !== length * 2 || !/^[0-9a-f]+$/.test(digest)))
      throw malformed(`the digest of ${base}`, 'digests', header.at);
    const folder = folders[folderOf[index] ?? -1];
    if (folder === undefined || !folder.startsWith('/') || base === '' || base.includes('/'))
      throw malformed(`the path of ${base}`, 'folders', header.at);
    const path = mergedUsr(`${folder}${folder.endsWith('/') ? '' : '/'}${base}`);
    const listed = isLink ? linkDigest(links[index] ?? '') : Buffer.from(digest, 'hex');
    return [{ digest: listed, path, package: name }];
  });
}

function packageOf(header: RpmHeader): string {
  const [name, version, release] = [tags.name, tags.version, tags.release].map((tag) => header.texts(tag)[0]);
  if (name === undefined || version === undefined || release === undefined)
    throw malformed('it names no package, version and release', 'name', header.at);
  const [epoch] = header.numbers(tags.epoch);
  return `${name} ${epoch === undefined ? '' : `${epoch}:`}${version}-${release}`;
}

/** An index of tags, and the bytes that it points into. */
class RpmHeader {
  /** Its offset in the package. */
  readonly at: number;
  readonly #bytes: Buffer;
  readonly #store: number;
  readonly #entries = new Map<number, RpmIndexEntry>();

  constructor(bytes: Buffer, at: number) {
    this.at = at;
    this.#bytes = bytes;
    const count = bytes.readUInt32BE(at + 8);
    this.#store = at + introSize + count * entrySize;
    for (let index = 0; index < count; index++) {
      const entry = at + introSize + index * entrySize;
      this.#entries.set(bytes.readUInt32BE(entry), {
        at: entry,
        type: bytes.readUInt32BE(entry + 4),
        offset: bytes.readUInt32BE(entry + 8),
        count: bytes.readUInt32BE(entry + 12),
      });
    }
  }

  /** Empty if there is none. */
  texts(tag: number): readonly string[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return [];
    if (![6, 8, 9].includes(entry.type)) throw malformed(`tag ${tag} is no text`, 'type', entry.at);
    const texts: string[] = [];
    for (let at = this.#store + entry.offset; texts.length < entry.count; ) {
      const end = this.#bytes.indexOf(0, at);
      if (at >= this.#bytes.length || end < 0) throw malformed(`tag ${tag} ends early`, 'offset', entry.at);
      texts.push(this.#bytes.toString('utf8', at, end));
      at = end + 1;
    }
    return texts;
  }

  numbers(tag: number): readonly number[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return [];
    const size = ({ 3: 2, 4: 4 } as Readonly<Record<number, number>>)[entry.type];
    if (size === undefined) throw malformed(`tag ${tag} is no number`, 'type', entry.at);
    const begin = this.#store + entry.offset;
    if (begin + entry.count * size > this.#bytes.length)
      throw malformed(`tag ${tag} ends early`, 'count', entry.at);
    return Array.from({ length: entry.count }, (_, index) =>
      this.#bytes.readUIntBE(begin + index * size, size),
    );
  }
}

interface RpmIndexEntry {
  readonly at: number;
  readonly type: number;
  readonly offset: number;
  readonly count: number;
}

function malformed(what: string, field: string, offset: number): Rejection {
  return new Rejection('malformed', `no rpm package: ${what}`, { field, offset });
}
