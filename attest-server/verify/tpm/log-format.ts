import { limits } from '../../protocol/limits.ts';
import { bankBytes, type PcrBank } from '../../protocol/messages.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { Cursor } from './cursor.ts';
import { noAction } from './event-types.ts';

/** Where one digest of an event lies in the log. */
export interface RawDigest {
  readonly bank: PcrBank;
  readonly offset: number;
}

/** One event by its offsets in the log's bytes. */
export interface RawEvent {
  readonly index: number;
  /** The event takes the bytes from `offset` to `end`. */
  readonly offset: number;
  readonly end: number;
  readonly pcr: number;
  readonly type: number;
  /** Digests of the banks that we know; others are passed over. */
  readonly digests: readonly RawDigest[];
  /** How many digests the event carries, unknown algorithms included. */
  readonly digestCount: number;
  readonly dataOffset: number;
}

/** A log cut into events; nothing in it has been hashed yet. */
export interface RawLog {
  readonly format: 'crypto-agile' | 'sha1';
  /** Banks of the header, in its order. */
  readonly banks: readonly PcrBank[];
  /** How many algorithms the header declares, unknown ones included. */
  readonly algorithmCount: number;
  readonly events: readonly RawEvent[];
  /** Bytes of 0x00 or 0xFF after the last event, of one value. */
  readonly padding: { readonly offset: number; readonly bytes: number } | null;
}

/** A digest algorithm of the header: the bank where we know one, and the bytes that its digests take. */
type Algorithms = ReadonlyMap<number, { readonly bank: PcrBank | null; readonly size: number }>;

/** TPM_ALG_ID of the banks. TPM 2.0 Part 2 r1.59, section 6.3. */
const bankById: ReadonlyMap<number, PcrBank> = new Map([
  [0x0004, 'sha1'],
  [0x000b, 'sha256'],
  [0x000c, 'sha384'],
  [0x000d, 'sha512'],
]);

/** PCRs that a log may name; a larger index means that these bytes are no event log. */
const pcrCount = 32;
export const noPcr = 0xffffffff;

const specId03 = Buffer.from('Spec ID Event03\0');

/**
 * Cuts a log into its events: TCG_PCClientPCREvent, and TCG_PCR_EVENT2 after a Spec ID Event03.
 * PC Client PFP 1.06, sections 10.2.1, 10.2.2 and 10.4.5.1.
 * @throws Rejection `malformed` with field and offset, `too_large`
 */
export function parseRawLog(bytes: Buffer): RawLog {
  if (bytes.length > limits.bootLog)
    throw new Rejection('too_large', `an event log of ${bytes.length} bytes`, { field: 'log' });
  const cursor = new Cursor(bytes, 'little');
  const first = parseSha1Event(cursor, 0);
  const data = bytes.subarray(first.dataOffset, first.end);
  const agile = first.type === noAction && data.subarray(0, specId03.length).equals(specId03);
  const algorithms = agile ? parseSpecId(cursor, first, data) : sha1Only;
  const events: RawEvent[] = [agile ? { ...first, digests: [] } : first];
  let padding: RawLog['padding'] = null;
  while (cursor.remaining > 0) {
    if (isPadding(bytes, cursor.offset)) {
      padding = { offset: cursor.offset, bytes: cursor.remaining };
      break;
    }
    const index = events.length;
    if (index >= limits.bootLogEvents)
      throw new Rejection('too_large', `an event log of more than ${index} events`, {
        field: 'log',
        offset: cursor.offset,
      });
    events.push(agile ? parseAgileEvent(cursor, index, algorithms) : parseSha1Event(cursor, index));
  }
  const banks = [...algorithms.values()].flatMap(({ bank }) => bank ?? []);
  const format = agile ? 'crypto-agile' : 'sha1';
  return { format, banks, algorithmCount: algorithms.size, events, padding };
}

const sha1Only: Algorithms = new Map([[0x0004, { bank: 'sha1', size: 20 }]]);

function parseSha1Event(cursor: Cursor, index: number): RawEvent {
  const offset = cursor.offset;
  const pcr = cursor.u32('pcrIndex');
  const type = cursor.u32('eventType');
  checkPcr(cursor, pcr, type, offset);
  const digest = cursor.skip(bankBytes.sha1, 'digest');
  const dataOffset = skipData(cursor, 'eventDataSize');
  const digests = [{ bank: 'sha1', offset: digest } as const];
  return { index, offset, end: cursor.offset, pcr, type, digests, digestCount: 1, dataOffset };
}

function parseAgileEvent(cursor: Cursor, index: number, algorithms: Algorithms): RawEvent {
  const offset = cursor.offset;
  const pcr = cursor.u32('pcrIndex');
  const type = cursor.u32('eventType');
  checkPcr(cursor, pcr, type, offset);
  const countAt = cursor.offset;
  const digestCount = cursor.u32('digests.count');
  if (digestCount > algorithms.size)
    throw cursor.fault(
      'digests.count',
      `event ${index} has ${digestCount} digests, the header declares ${algorithms.size}`,
      countAt,
    );
  const digests: RawDigest[] = [];
  const seen = new Set<number>();
  for (let i = 0; i < digestCount; i++) {
    const at = cursor.offset;
    const id = cursor.u16('digests.hashAlg');
    const algorithm = algorithms.get(id);
    if (algorithm === undefined || seen.has(id))
      throw cursor.fault(
        'digests.hashAlg',
        `event ${index}: algorithm 0x${id.toString(16)} is ${algorithm === undefined ? 'not declared' : 'given twice'}`,
        at,
      );
    seen.add(id);
    const digest = cursor.skip(algorithm.size, 'digests.digest');
    if (algorithm.bank !== null) digests.push({ bank: algorithm.bank, offset: digest });
  }
  const dataOffset = skipData(cursor, 'eventSize');
  return { index, offset, end: cursor.offset, pcr, type, digests, digestCount, dataOffset };
}

function checkPcr(cursor: Cursor, pcr: number, type: number, offset: number): void {
  if (pcr < pcrCount || pcr === noPcr || type === noAction) return;
  throw cursor.fault('pcrIndex', `PCR ${pcr} at offset ${offset}: there is no such PCR`, offset);
}

function skipData(cursor: Cursor, field: string): number {
  const at = cursor.offset;
  const size = cursor.u32(field);
  if (size > cursor.remaining)
    throw cursor.fault(
      field,
      `${field} is ${size} at offset ${at}, and ${cursor.remaining} bytes are left`,
      at,
    );
  return cursor.skip(size, field);
}

function parseSpecId(cursor: Cursor, first: RawEvent, data: Buffer): Algorithms {
  const header = new Cursor(data, 'little');
  try {
    header.skip(specId03.length, 'signature');
    header.skip(8, 'platformClass, specVersion, uintnSize');
    const count = header.u32('numberOfAlgorithms');
    const algorithms = new Map<number, { bank: PcrBank | null; size: number }>();
    for (let i = 0; i < count; i++) {
      const at = header.offset;
      const id = header.u16('digestSizes.algorithmId');
      const size = header.u16('digestSizes.digestSize');
      const bank = bankById.get(id) ?? null;
      if (algorithms.has(id) || (bank !== null && size !== bankBytes[bank]))
        throw header.fault(
          'digestSizes',
          `algorithm 0x${id.toString(16)} of ${size} bytes is wrong or doubled`,
          at,
        );
      algorithms.set(id, { bank, size });
    }
    if (algorithms.size === 0) throw header.fault('numberOfAlgorithms', 'the header declares no algorithm');
    const vendorBytes = header.u8('vendorInfoSize');
    // Some firmware leaves the vendor's bytes out of the event's size: they then follow the event.
    if (header.remaining === 0) cursor.skip(vendorBytes, 'specId.vendorInfo');
    else header.skip(vendorBytes, 'vendorInfo');
    header.end('vendorInfo');
    return algorithms;
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    if (error.field?.startsWith('specId.')) throw error;
    throw cursor.fault(`specId.${error.field}`, error.message, first.dataOffset + (error.offset ?? 0));
  }
}

/** True where all bytes from `at` on are 0x00, or all are 0xFF. */
function isPadding(bytes: Buffer, at: number): boolean {
  const value = bytes[at];
  if (value !== 0x00 && value !== 0xff) return false;
  for (let i = at + 1; i < bytes.length; i++) if (bytes[i] !== value) return false;
  return true;
}
