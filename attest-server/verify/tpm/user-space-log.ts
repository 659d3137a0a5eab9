import { hash } from 'node:crypto';
import { limits } from '../../wire/limits.ts';
import { bankBytes, type PcrBank, pcrBanks } from '../../wire/messages.ts';
import { namesPrototype } from '../../wire/prototype-key.ts';
import { Rejection } from '../../wire/rejection.ts';
import { shownText } from './shown-text.ts';

/** One record of the log that user space keeps of what it extends itself. */
export interface UserSpaceEvent {
  readonly index: number;
  readonly pcr: number;
  /** As systemd names it: `phase`, `machine-id`, `file-system`, …; "" where it does not say. */
  readonly type: string;
  readonly digests: Readonly<Partial<Record<PcrBank, string>>>;
  /** The measured text, or what it is of; for a person. */
  readonly describes: string;
  /** The text was recomputed to the digest in every bank carried. */
  readonly verified: boolean;
}

/** systemd's /run/log/systemd/tpm2-measure.log. */
export interface UserSpaceLog {
  readonly events: readonly UserSpaceEvent[];
  /** Records that name no PCR: those of NV indices that serve as such. */
  readonly passedOver: number;
}

/** PCRs that no boot loader resets and that user space may extend. */
const pcrCount = 24;
const mostEvents = 1024;
const recordSeparator = 0x1e;
const lineFeed = 0x0a;

/**
 * Parses a log of records, each a JSON object after a record separator: RFC 7464, with the members of the TCG's
 * Canonical Event Log, section 5, and of systemd's src/shared/tpm2-util.c.
 * @throws Rejection `malformed` with field and offset, `too_large`
 */
export function parseUserSpaceLog(bytes: Buffer): UserSpaceLog {
  if (bytes.length > limits.parts.userSpace)
    throw new Rejection('too_large', `a user-space log of ${bytes.length} bytes`, { field: 'userspaceLog' });
  const events: UserSpaceEvent[] = [];
  let passedOver = 0;
  for (let offset = 0; offset < bytes.length; ) {
    const end = recordEnd(bytes, offset);
    const event = parseRecord(bytes.toString('utf8', offset + 1, end), events.length, offset);
    if (event === null) passedOver++;
    else events.push(event);
    if (events.length + passedOver > mostEvents)
      throw new Rejection('too_large', `a user-space log of more than ${mostEvents} records`, {
        field: 'userspaceLog',
        offset,
      });
    offset = end + 1;
  }
  return { events, passedOver };
}

/** Where the line feed of the record lies that begins at `offset`. A record without one was cut off. */
function recordEnd(bytes: Buffer, offset: number): number {
  if (bytes[offset] !== recordSeparator)
    throw fault('record', 'no record separator begins this record', offset);
  const next = bytes.indexOf(recordSeparator, offset + 1);
  const end = (next < 0 ? bytes.length : next) - 1;
  if (end <= offset || bytes[end] !== lineFeed) throw fault('record', 'this record is cut off', offset);
  return end;
}

function parseRecord(text: string, index: number, offset: number): UserSpaceEvent | null {
  const record = parseObject(text, offset);
  const { pcr, content } = record;
  if (pcr === undefined) return null;
  if (typeof pcr !== 'number' || !Number.isInteger(pcr) || pcr < 0 || pcr >= pcrCount)
    throw fault('pcr', 'there is no such PCR', offset);
  const digests = parseDigests(record.digests, offset);
  const string = isRecord(content) && typeof content.string === 'string' ? content.string : null;
  const type = isRecord(content) && typeof content.eventType === 'string' ? content.eventType : '';
  const carried = pcrBanks.filter((bank) => digests[bank] !== undefined);
  const verified =
    string !== null && carried.length > 0 && carried.every((bank) => digests[bank] === hash(bank, string));
  return { index, pcr, type: shownText(type), digests, describes: shownText(string ?? ''), verified };
}

function parseObject(text: string, offset: number): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw fault('record', 'this record is not JSON', offset);
  }
  if (namesPrototype(text, value)) throw fault('record', 'this record names __proto__', offset);
  if (!isRecord(value)) throw fault('record', 'this record is no object', offset);
  return value;
}

function parseDigests(value: unknown, offset: number): UserSpaceEvent['digests'] {
  if (!Array.isArray(value) || value.length === 0)
    throw fault('digests', 'this record has no digests', offset);
  const digests: Partial<Record<PcrBank, string>> = {};
  for (const one of value) {
    const algorithm = isRecord(one) ? one.hashAlg : undefined;
    const digest = isRecord(one) ? one.digest : undefined;
    if (typeof algorithm !== 'string' || typeof digest !== 'string')
      throw fault('digests', 'a digest lacks its algorithm or its value', offset);
    const bank = pcrBanks.find((known) => known === algorithm);
    if (bank === undefined) continue;
    if (digests[bank] !== undefined || digest.length !== bankBytes[bank] * 2 || !/^[0-9a-f]*$/i.test(digest))
      throw fault('digests', `the ${bank} digest is given twice, or is none`, offset);
    digests[bank] = digest.toLowerCase();
  }
  return digests;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fault(field: string, text: string, offset: number): Rejection {
  return new Rejection('malformed', `user-space log, offset ${offset}: ${text}`, {
    field: `userspaceLog.${field}`,
    offset,
  });
}

/**
 * The events of one PCR that lead from `value` to `quoted` in this bank; null if none of its prefixes does. The log is
 * read after the quote, so that what was measured in between may follow.
 */
export function eventsUntil(
  { events }: UserSpaceLog,
  bank: PcrBank,
  pcr: number,
  value: Buffer,
  quoted: Buffer,
): readonly UserSpaceEvent[] | null {
  const size = bankBytes[bank];
  const scratch = Buffer.alloc(size * 2);
  value.copy(scratch);
  const led: UserSpaceEvent[] = [];
  if (quoted.compare(scratch, 0, size) === 0) return led;
  for (const event of events) {
    const digest = event.digests[bank];
    if (event.pcr !== pcr || digest === undefined) continue;
    scratch.write(digest, size, 'hex');
    scratch.write(hash(bank, scratch, 'hex'), 0, 'hex');
    led.push(event);
    if (quoted.compare(scratch, 0, size) === 0) return led;
  }
  return null;
}

/**
 * The PCRs of one bank after all events of user space.
 * @param before what the firmware's log leaves, hex; a PCR that it does not extend is zero
 */
export function replayUserSpace(
  { events }: UserSpaceLog,
  bank: PcrBank,
  before: Readonly<Record<number, string>>,
): Readonly<Record<number, string>> {
  const pcrs: Record<number, string> = { ...before };
  const zero = '00'.repeat(bankBytes[bank]);
  for (const { pcr, digests } of events) {
    const digest = digests[bank];
    if (digest !== undefined) pcrs[pcr] = hash(bank, Buffer.from((pcrs[pcr] ?? zero) + digest, 'hex'), 'hex');
  }
  return pcrs;
}
