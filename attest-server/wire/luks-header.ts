import { hash } from 'node:crypto';
import { z } from 'zod';
import { jsonOrNothing } from './parse-json.ts';

/**
 * The header of a LUKS volume, of the bytes at a device's start, without any key material. "LUKS2 On-Disk Format
 * Specification" 1.1.3, sections 2.1 and 2.3; "LUKS On-Disk Format Specification" 1.2.3, section 3.
 */
export type ParsedHeader =
  | {
      readonly version: 2;
      readonly uuid: string;
      /** SHA-256 of binary header and JSON area; what tells its two copies apart (magic, salt, offset, checksum) is zeros. */
      readonly digest: string;
      readonly seqid: bigint;
      /** The JSON area up to its NUL. */
      readonly metadata: string;
    }
  | {
      readonly version: 1;
      readonly uuid: string;
      /** SHA-256 of its 592 bytes. */
      readonly digest: string;
      readonly luks1: {
        readonly cipher: string;
        readonly mode: string;
        readonly hash: string;
        readonly keyBytes: number;
        /** Hex. */
        readonly keyDigest: string;
        readonly keySalt: string;
        readonly activeSlots: number[];
      };
    };

/** Of a volume whose key is leased, the keyslot of its recovery passphrase: that of the lease is another one with each key. */
export const recoverySlot = '1';

/** The only cipher of such a volume: of another one no header is taken. */
export const leasedCipher = 'aes-xts-plain64';

/** Bytes read from a device: `bytes` is shorter than `asked` if the device ends. */
export interface HeaderChunk {
  readonly at: number;
  readonly asked: number;
  readonly bytes: Buffer;
}

export type ByteRange = Pick<HeaderChunk, 'at' | 'asked'>;

export interface HeaderFound {
  /** Null if there is none, or none that can be read. */
  readonly header: ParsedHeader | null;
  /** The faults of it, or of one of its copies. */
  readonly faults: readonly string[];
  /** Ranges that must be read besides to say this for sure; nothing of them holds key material of a header that is whole. */
  readonly wants: readonly ByteRange[];
}

/** Sizes that a LUKS2 header may have: its second copy begins there. */
const sizes = [0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000] as const;
const binaryBytes = 4096;
const longestMetadata = 128 * 1024;
const magic = { first: Buffer.from('LUKS\xba\xbe', 'latin1'), second: Buffer.from('SKUL\xba\xbe', 'latin1') };

/**
 * @param chunks what was read so far
 * @param isVolume a mapping says that there is one: a second copy is looked for at each place, not at the usual one alone
 */
export function parseLuksHeader(chunks: readonly HeaderChunk[], isVolume: boolean): HeaderFound {
  const begin = take(chunks, { at: 0, asked: binaryBytes });
  if (begin === null) return { header: null, faults: [], wants: [{ at: 0, asked: binaryBytes }] };
  const isFirst = hasMagic(begin, magic.first) && begin.length >= 16;
  const version = isFirst ? begin.readUInt16BE(6) : null;
  if (version === 1) return { ...parseFirstVersion(begin), wants: [] };
  if (version !== null && version !== 2)
    return { header: null, faults: [`a LUKS header of version ${version}`], wants: [] };
  return parseSecondVersion(chunks, isFirst ? begin : null, isVolume);
}

/** Null if it was not asked for yet. */
function take(chunks: readonly HeaderChunk[], { at, asked }: ByteRange): Buffer | null {
  const chunk = chunks.find((one) => one.at <= at && one.at + one.asked >= at + asked);
  return chunk === undefined ? null : chunk.bytes.subarray(at - chunk.at, at - chunk.at + asked);
}

const firstVersionBytes = 592;
const slot = { at: 208, bytes: 48, active: 0x00ac71f3, disabled: 0x0000dead };

function parseFirstVersion(bytes: Buffer): Omit<HeaderFound, 'wants'> {
  const damaged = (text: string) => ({ header: null, faults: [`the LUKS1 header ${text}`] });
  if (bytes.length < firstVersionBytes) return damaged('is cut short');
  const texts = [
    ['cipher', 8, 32],
    ['mode', 40, 32],
    ['hash', 72, 32],
    ['UUID', 168, 40],
  ] as const;
  const [cipher, mode, hashName, uuid] = texts.map(([, at, length]) => textAt(bytes, at, length));
  if (cipher == null || mode == null || hashName == null || uuid == null || !isUuid(uuid))
    return damaged('holds no text where cipher, mode, hash and UUID are');
  const keyBytes = bytes.readUInt32BE(108);
  if (keyBytes > 4096) return damaged(`names a key of ${keyBytes} bytes`);
  const activeSlots: number[] = [];
  for (let index = 0; index < 8; index++) {
    const state = bytes.readUInt32BE(slot.at + index * slot.bytes);
    if (state === slot.active) activeSlots.push(index);
    else if (state !== slot.disabled) return damaged(`says of keyslot ${index} neither active nor disabled`);
  }
  const luks1 = {
    cipher,
    mode,
    hash: hashName,
    keyBytes,
    keyDigest: bytes.toString('hex', 112, 132),
    keySalt: bytes.toString('hex', 132, 164),
    activeSlots,
  };
  const digest = hash('sha256', bytes.subarray(0, firstVersionBytes), 'hex');
  return { header: { version: 1, uuid, digest, luks1 }, faults: [] };
}

type Luks2Header = Extract<ParsedHeader, { version: 2 }>;

/** The newer of two valid copies counts, as for cryptsetup: else a copy that it passes would be what we show. */
function parseSecondVersion(
  chunks: readonly HeaderChunk[],
  begin: Buffer | null,
  isVolume: boolean,
): HeaderFound {
  const size = begin === null ? null : sizeOf(begin);
  const whole = size === null ? null : { at: 0, asked: 2 * size };
  const both = whole === null ? null : take(chunks, whole);
  if (whole !== null && both === null) return { header: null, faults: [], wants: [whole] };
  const first =
    begin === null ? 'has no magic' : parseCopy(both?.subarray(0, size ?? 0) ?? begin, 0, magic.first);
  const second =
    size !== null && both !== null && typeof first !== 'string'
      ? parseCopy(both.subarray(size), size, magic.second)
      : findSecond(chunks, begin !== null || isVolume ? sizes : [sizes[0]]);
  if (second !== null && typeof second === 'object' && 'wants' in second)
    return { header: null, faults: [], wants: second.wants };
  if (begin === null && second === null) return { header: null, faults: [], wants: [] };
  return { ...newerOf(first, second ?? 'has no magic'), wants: [] };
}

function newerOf(first: Luks2Header | string, second: Luks2Header | string): Omit<HeaderFound, 'wants'> {
  if (typeof first !== 'string' && typeof second !== 'string') {
    const fault =
      first.seqid !== second.seqid
        ? `of two LUKS2 headers one is older (sequence ${first.seqid} and ${second.seqid}): the newer counts`
        : first.digest !== second.digest
          ? 'two LUKS2 headers of one sequence differ: the first counts'
          : null;
    return { header: second.seqid > first.seqid ? second : first, faults: fault === null ? [] : [fault] };
  }
  const faults = [
    ...(typeof first === 'string' ? [`the first LUKS2 header ${first}`] : []),
    ...(typeof second === 'string' ? [`the second LUKS2 header ${second}`] : []),
  ];
  const header = typeof first !== 'string' ? first : typeof second !== 'string' ? second : null;
  return { header, faults };
}

/** Null if there is none at these places; a text where there are such that do not count. */
function findSecond(
  chunks: readonly HeaderChunk[],
  places: readonly number[],
): Luks2Header | string | { readonly wants: readonly ByteRange[] } | null {
  const probes = places.map((at) => ({ at, asked: binaryBytes }));
  const unread = probes.filter((probe) => take(chunks, probe) === null);
  if (unread.length > 0) return { wants: unread };
  const found = probes
    .filter((probe) => hasMagic(take(chunks, probe) ?? Buffer.alloc(0), magic.second))
    .map(({ at }) => ({ at, asked: at }));
  const unreadCopies = found.filter((copy) => take(chunks, copy) === null);
  if (unreadCopies.length > 0) return { wants: unreadCopies };
  const parsed = found.map((copy) => parseCopy(take(chunks, copy) ?? Buffer.alloc(0), copy.at, magic.second));
  return parsed.find((copy) => typeof copy !== 'string') ?? parsed[0] ?? null;
}

/** @param bytes binary header and JSON area of one copy. A text says why it does not count. */
function parseCopy(bytes: Buffer, at: number, wanted: Buffer): Luks2Header | string {
  if (!hasMagic(bytes, wanted)) return 'has no magic';
  if (bytes.length < binaryBytes) return 'is cut short';
  const size = sizeOf(bytes);
  if (size === null || (at > 0 && size !== at)) return 'is of a size that it cannot have';
  if (bytes.length < size) return 'is cut short';
  const copy = Buffer.from(bytes.subarray(0, size));
  const version = copy.readUInt16BE(6);
  if (version !== 2) return `says that it is of version ${version}`;
  if (copy.readBigUInt64BE(256) !== BigInt(at)) return 'says that it is elsewhere';
  if (textAt(copy, 72, 32) !== 'sha256') return 'has no checksum of SHA-256';
  const checksum = bytes.subarray(448, 480);
  copy.fill(0, 448, 512);
  if (!hash('sha256', copy, 'buffer').equals(checksum)) return 'has another checksum';
  const uuid = textAt(copy, 168, 40);
  if (uuid === null || !isUuid(uuid)) return 'has no UUID';
  const area = copy.subarray(binaryBytes);
  const end = area.indexOf(0);
  if (end <= 0) return 'has a JSON area without an end, or without a begin';
  if (end > longestMetadata) return `has metadata of ${end} bytes`;
  const metadata = utf8(area.subarray(0, end));
  if (metadata === null) return 'has metadata that is no UTF-8';
  const seqid = copy.readBigUInt64BE(16);
  copy.fill(0, 0, 6).fill(0, 104, 168).fill(0, 256, 264);
  return { version: 2, uuid, digest: hash('sha256', copy, 'hex'), seqid, metadata };
}

function hasMagic(bytes: Buffer, wanted: Buffer): boolean {
  return bytes.subarray(0, wanted.length).equals(wanted);
}

function sizeOf(bytes: Buffer): number | null {
  const size = bytes.readBigUInt64BE(8);
  return sizes.find((one) => BigInt(one) === size) ?? null;
}

/** Printable ASCII up to a NUL or the field's end; null if it is something else. */
function textAt(bytes: Buffer, at: number, length: number): string | null {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  const text = field.toString('latin1', 0, end < 0 ? length : end);
  return /^[\x20-\x7e]*$/.test(text) ? text : null;
}

function isUuid(text: string): boolean {
  return /^[0-9a-fA-F-]{1,40}$/.test(text);
}

const areas = z.object({
  keyslots: z.record(
    z.string(),
    z.object({
      area: z.object({ offset: z.string().regex(/^\d{1,9}$/), size: z.string().regex(/^\d{1,9}$/) }),
    }),
  ),
});

/**
 * Where the key material of each keyslot lies, by its number; null if the metadata do not say. The digest of a header is not of
 * that. "LUKS2 On-Disk Format Specification" 1.1.3, section 3.2.
 */
export function keyslotAreas(metadata: string): Readonly<Record<string, ByteRange>> | null {
  const { data } = areas.safeParse(jsonOrNothing(metadata));
  if (data === undefined) return null;
  return Object.fromEntries(
    Object.entries(data.keyslots).map(([slot, { area }]) => [
      slot,
      { at: Number(area.offset), asked: Number(area.size) },
    ]),
  );
}

function utf8(bytes: Buffer): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}
