import { limits } from '../../wire/limits.ts';
import { Rejection } from '../../wire/rejection.ts';
import { digestBytesByAlg, type LogBank, logBankByAlg, logBankBytes } from './algorithms.ts';
import { Cursor } from './cursor.ts';
import { type EventColumns, EventTable } from './event-table.ts';
import { noAction } from './event-types.ts';

/** A log cut into events; nothing in it has been hashed yet. */
export interface RawLog extends Omit<EventColumns, 'digests'> {
  readonly format: 'crypto-agile' | 'sha1';
  /** Banks of the header, in its order. */
  readonly banks: readonly LogBank[];
  /** How many algorithms the header declares, unknown ones included. */
  readonly algorithmCount: number;
  /** By event, the algorithms of digests that it carries and the header does not declare. */
  readonly undeclared: ReadonlyMap<number, readonly number[]>;
  /** Per bank where an event's digest lies; 0 where it has none: offset 0 can never hold one. */
  readonly digestOffsets: Readonly<Partial<Record<LogBank, Uint32Array>>>;
  /** How many events there are; the columns may be longer. */
  readonly count: number;
  /** Bytes of 0x00 or 0xFF after the last event, of one value. */
  readonly padding: { readonly offset: number; readonly bytes: number } | null;
}

/** A digest algorithm of the header: the bank where we know one, and the bytes that its digests take. */
interface Algorithm {
  readonly id: number;
  readonly bank: LogBank | null;
  /** Which of the known banks it is; -1 for none. */
  readonly position: number;
  readonly size: number;
}

/** No machine declares more than a handful; a bit for each has to fit a number. */
const mostAlgorithms = 16;

/** PCRs that a log may name; a larger index means that these bytes are no event log. */
const pcrCount = 32;
export const noPcr = 0xffffffff;

const specId03 = Buffer.from('Spec ID Event03\0');
const sha1Only: readonly Algorithm[] = [{ id: 0x0004, bank: 'sha1', position: 0, size: logBankBytes.sha1 }];

/**
 * Cuts a log into its events: TCG_PCClientPCREvent, and TCG_PCR_EVENT2 after a Spec ID Event03.
 * PC Client PFP 1.06, sections 10.2.1, 10.2.2 and 10.4.5.1.
 * @throws Rejection `malformed` with field and offset, `too_large`
 */
export function parseRawLog(bytes: Buffer): RawLog {
  const { raw, fault } = parseRawLogSoFar(bytes);
  if (fault !== null) throw fault;
  return raw;
}

/** The events before the first one that cannot be read, and why it cannot; null if all can. */
export interface RawLogSoFar {
  readonly raw: RawLog;
  readonly fault: Rejection | null;
}

/**
 * The same for people, who want to see how far a log goes. No verdict is made of it.
 * @throws Rejection if not even the first event can be read
 */
export function parseRawLogSoFar(bytes: Buffer): RawLogSoFar {
  if (bytes.length > limits.parts.boot)
    throw new Rejection('too_large', `an event log of ${bytes.length} bytes`, { field: 'log' });
  const cursor = new Cursor(bytes, 'little');
  const agile = isAgile(bytes);
  const algorithms = agile ? firstRead(() => parseHeader(cursor, bytes)) : sha1Only;
  const banks = algorithms.flatMap(({ bank }) => bank ?? []);
  const table = new EventTable(banks.length);
  const undeclared = new Map<number, readonly number[]>();
  if (agile) addHeader(table, bytes);
  else firstRead(() => parseSha1Event(cursor, table));
  const paddingFrom = paddingStart(bytes);
  let padding: RawLog['padding'] = null;
  let fault: Rejection | null = null;
  let whole = table.count;
  try {
    while (cursor.remaining > 0) {
      if (cursor.offset >= paddingFrom) {
        padding = { offset: cursor.offset, bytes: cursor.remaining };
        break;
      }
      if (table.count >= limits.bootLogEvents)
        throw new Rejection('too_large', `an event log of more than ${table.count} events`, {
          field: 'log',
          offset: cursor.offset,
        });
      if (agile) parseAgileEvent(cursor, table, algorithms, undeclared);
      else parseSha1Event(cursor, table);
      whole = table.count;
    }
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    fault = cursor.ranOut ? explained(`the boot log ends within event ${whole}`, error) : error;
  }
  const { pcrs, types, offsets, ends, dataOffsets, digestCounts, digests } = table.columns;
  const digestOffsets: Partial<Record<LogBank, Uint32Array>> = {};
  for (const [position, bank] of banks.entries()) digestOffsets[bank] = digests[position]!;
  const raw: RawLog = {
    pcrs,
    types,
    offsets,
    ends,
    dataOffsets,
    digestCounts,
    digestOffsets,
    format: agile ? 'crypto-agile' : 'sha1',
    banks,
    algorithmCount: algorithms.length,
    undeclared,
    count: whole,
    padding,
  };
  return { raw, fault };
}

/** @throws Rejection that says of bytes without even a first event that they are no log */
function firstRead<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof Rejection ? explained('this is no boot log', error) : error;
  }
}

function explained(what: string, cause: Rejection): Rejection {
  const { code, message, field, offset } = cause;
  return new Rejection(code, `${what}: ${message}`, {
    ...(field !== undefined && { field }),
    ...(offset !== undefined && { offset }),
    cause,
  });
}

const headerTypeAt = 4;
const headerDataSizeAt = 28;
const headerDataAt = 32;

/** The first event of a crypto-agile log has the old format, and says in its data what the others look like. */
function isAgile(bytes: Buffer): boolean {
  return (
    bytes.length >= headerDataAt + specId03.length &&
    bytes.readUInt32LE(headerTypeAt) === noAction &&
    bytes.readUInt32LE(headerDataSizeAt) >= specId03.length &&
    specId03.compare(bytes, headerDataAt, headerDataAt + specId03.length) === 0
  );
}

function addHeader(table: EventTable, bytes: Buffer): void {
  const index = table.add(bytes.readUInt32LE(0), noAction, 0);
  table.columns.digestCounts[index] = 1;
  table.columns.dataOffsets[index] = headerDataAt;
  table.columns.ends[index] = headerDataAt + bytes.readUInt32LE(headerDataSizeAt);
}

function parseSha1Event(cursor: Cursor, table: EventTable): void {
  const offset = cursor.offset;
  const pcr = cursor.u32('pcrIndex');
  const type = cursor.u32('eventType');
  checkPcr(cursor, pcr, type, offset);
  const digest = cursor.skip(logBankBytes.sha1, 'digest');
  const dataOffset = skipData(cursor, 'eventDataSize');
  const index = table.add(pcr, type, offset);
  const { columns } = table;
  columns.digestCounts[index] = 1;
  columns.digests[0]![index] = digest;
  columns.dataOffsets[index] = dataOffset;
  columns.ends[index] = cursor.offset;
}

function parseAgileEvent(
  cursor: Cursor,
  table: EventTable,
  algorithms: readonly Algorithm[],
  undeclared: Map<number, readonly number[]>,
): void {
  const offset = cursor.offset;
  const pcr = cursor.u32('pcrIndex');
  const type = cursor.u32('eventType');
  checkPcr(cursor, pcr, type, offset);
  const countAt = cursor.offset;
  const digestCount = cursor.u32('digests.count');
  const index = table.add(pcr, type, offset);
  if (digestCount > mostAlgorithms)
    throw cursor.fault('digests.count', `event ${index} has ${digestCount} digests`, countAt);
  const { columns } = table;
  let seen = 0;
  let more: number[] | null = null;
  for (let i = 0; i < digestCount; i++) {
    const at = cursor.offset;
    const id = cursor.u16('digests.hashAlg');
    const which = positionOf(algorithms, id);
    if (which < 0 ? more?.includes(id) : ((seen >>> which) & 1) === 1)
      throw cursor.fault(
        'digests.hashAlg',
        `event ${index}: algorithm 0x${id.toString(16)} is given twice`,
        at,
      );
    if (which < 0) {
      const size = digestBytesByAlg(id);
      if (size === undefined)
        throw cursor.fault(
          'digests.hashAlg',
          `event ${index}: algorithm 0x${id.toString(16)} is neither declared nor known`,
          at,
        );
      cursor.skip(size, 'digests.digest');
      more ??= [];
      more.push(id);
      continue;
    }
    seen |= 1 << which;
    const { position, size } = algorithms[which]!;
    const digest = cursor.skip(size, 'digests.digest');
    if (position >= 0) columns.digests[position]![index] = digest;
  }
  if (more !== null) undeclared.set(index, more);
  columns.digestCounts[index] = digestCount - (more?.length ?? 0);
  columns.dataOffsets[index] = skipData(cursor, 'eventSize');
  columns.ends[index] = cursor.offset;
}

function positionOf(algorithms: readonly Algorithm[], id: number): number {
  for (let i = 0; i < algorithms.length; i++) if (algorithms[i]!.id === id) return i;
  return -1;
}

function checkPcr(cursor: Cursor, pcr: number, type: number, offset: number): void {
  if (pcr < pcrCount || pcr === noPcr || type === noAction) return;
  throw cursor.fault('pcrIndex', `PCR ${pcr} at offset ${offset}: there is no such PCR`, offset);
}

function skipData(cursor: Cursor, field: string): number {
  const at = cursor.offset;
  const size = cursor.u32(field);
  if (size > cursor.remaining)
    throw cursor.shortage(
      field,
      `${field} is ${size} at offset ${at}, and ${cursor.remaining} bytes are left`,
      at,
    );
  return cursor.skip(size, field);
}

/** Reads the first event of a crypto-agile log, and leaves the cursor behind it. */
function parseHeader(cursor: Cursor, bytes: Buffer): readonly Algorithm[] {
  cursor.skip(headerDataSizeAt, 'header');
  const dataAt = skipData(cursor, 'eventDataSize');
  const header = new Cursor(bytes.subarray(dataAt, cursor.offset), 'little');
  try {
    header.skip(specId03.length, 'signature');
    header.skip(8, 'platformClass, specVersion, uintnSize');
    const algorithms = parseAlgorithms(header);
    const vendorBytes = header.u8('vendorInfoSize');
    // Some firmware leaves the vendor's bytes out of the event's size: they then follow the event.
    if (header.remaining === 0) cursor.skip(vendorBytes, 'specId.vendorInfo');
    else header.skip(vendorBytes, 'vendorInfo');
    header.end('vendorInfo');
    return algorithms;
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    if (error.field?.startsWith('specId.')) throw error;
    throw cursor.fault(`specId.${error.field}`, error.message, dataAt + (error.offset ?? 0));
  }
}

function parseAlgorithms(header: Cursor): readonly Algorithm[] {
  const count = header.u32('numberOfAlgorithms');
  const algorithms: Algorithm[] = [];
  let banks = 0;
  for (let i = 0; i < count; i++) {
    const at = header.offset;
    const id = header.u16('digestSizes.algorithmId');
    const size = header.u16('digestSizes.digestSize');
    const bank = logBankByAlg(id) ?? null;
    if (positionOf(algorithms, id) >= 0 || (bank !== null && size !== logBankBytes[bank]))
      throw header.fault(
        'digestSizes',
        `algorithm 0x${id.toString(16)} of ${size} bytes is wrong or doubled`,
        at,
      );
    if (i === mostAlgorithms) throw header.fault('digestSizes', `more than ${i} algorithms`, at);
    algorithms.push({ id, bank, position: bank === null ? -1 : banks++, size });
  }
  if (algorithms.length === 0) throw header.fault('numberOfAlgorithms', 'the header declares no algorithm');
  return algorithms;
}

const padBytes = 4096;
const pads: readonly Buffer[] = [Buffer.alloc(padBytes, 0x00), Buffer.alloc(padBytes, 0xff)];

/**
 * From where on all bytes are 0x00, or all are 0xFF. Looked for once: a log of zeros must not be searched per event.
 * Some machines pad to 1 MB, hence whole blocks first.
 */
function paddingStart(bytes: Buffer): number {
  const pad = pads.find((block) => block[0] === bytes.at(-1));
  let at = bytes.length;
  if (pad === undefined) return at;
  while (at >= padBytes && pad.compare(bytes, at - padBytes, at) === 0) at -= padBytes;
  while (at > 0 && bytes[at - 1] === pad[0]) at--;
  return at;
}
