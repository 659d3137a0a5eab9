import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { z } from 'zod';
import { type AuditLine, auditLine, isAuditEntry } from '../../../api/audit-pages.ts';
import type { AuditEntry } from '../../../formats/audit.ts';
import { checkpointLength } from '../../../wire/checkpoint.ts';
import { jsonOrNothing } from '../../../wire/parse-json.ts';
import { CliError } from '../../exit.ts';
import { unreadable } from '../../read-file.ts';
import { isDatabase } from './database-file.ts';
import { inOrder } from './in-order.ts';
import { readDatabase } from './log-in-database.ts';
import { UnreadableAuditLog, type Witness } from './verify-log.ts';

/** No entry is as long as this, also none of an earlier program, which kept texts of 256 KiB: longer lines are not held. */
const lineBytes = 4 * 1024 * 1024;

/** Reads an export, or a database or its backup, line by line, in the order of an export. @throws CliError, UnreadableAuditLog */
export function readAuditLog(path: string): Iterable<AuditLine> {
  try {
    return isDatabase(path) ? readDatabase(path) : readExport(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** A signed note, or what an agent keeps: `{"publicKey","checkpoint"}`. @throws CliError */
export function readWitness(path: string): Witness {
  let text: string;
  try {
    if (statSync(path).size > 4 * checkpointLength) throw new Error('it is too large');
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (!text.startsWith('{')) return { checkpoint: text, publicKey: null };
  const kept = keptByAgent.safeParse(jsonOrNothing(text)).data;
  if (kept === undefined)
    throw new CliError(
      `${path} holds no checkpoint`,
      'Name a signed checkpoint, or the file audit-checkpoint.json of an agent.',
    );
  return kept;
}

const keptByAgent = z.strictObject({ publicKey: z.string(), checkpoint: z.string() });

/** In its order; that of an earlier program has the keys and then all checkpoints behind the entries. */
function* readExport(path: string): Generator<AuditLine> {
  const file = openSync(path, 'r');
  try {
    const first = Buffer.alloc(entryBegins.length);
    readSync(file, first, 0, first.length, 0);
    if (!first.equals(entryBegins)) yield* parsedLines(file, 0, Number.POSITIVE_INFINITY);
    else yield* inOrderOfExport(file);
  } finally {
    closeSync(file);
  }
}

const entryBegins = Buffer.from('{"entry":');

function* inOrderOfExport(file: number): Generator<AuditLine> {
  const tail = endOfEntries(file);
  const rest = parsedLines(file, tail, Number.POSITIVE_INFINITY);
  let line = rest.next();
  for (; !line.done && 'keys' in line.value; line = rest.next()) yield line.value;
  const first = line;
  yield* inOrder(entriesOf(parsedLines(file, 0, tail)), notesOf(first, rest));
}

function* entriesOf(lines: Iterable<AuditLine>): Generator<AuditEntry> {
  for (const line of lines) {
    if (!('entry' in line)) throw new UnreadableAuditLog('a key or a checkpoint stands between entries');
    yield line.entry;
  }
}

function* notesOf(first: IteratorResult<AuditLine>, rest: Iterator<AuditLine>): Generator<string> {
  for (let line = first; !line.done; line = rest.next()) {
    if (!('checkpoint' in line.value)) throw new UnreadableAuditLog('a key stands between checkpoints');
    yield line.value.checkpoint;
  }
}

/** Where the lines behind the last entry begin: looked for from the end, since entries are what is long. */
function endOfEntries(file: number): number {
  const { size } = fstatSync(file);
  const block = Buffer.alloc(blockBytes + entryBegins.length + 1);
  let tail = size;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - blockBytes);
    const length = readSync(
      file,
      block,
      0,
      Math.min(end - start + entryBegins.length + 1, size - start),
      start,
    );
    const bytes = block.subarray(0, length);
    for (
      let at = bytes.lastIndexOf(10, end - start - 1);
      at >= 0;
      at = at === 0 ? -1 : bytes.lastIndexOf(10, at - 1)
    ) {
      const begin = at + 1;
      if (start + begin === size) continue;
      if (bytes.subarray(begin, begin + entryBegins.length).equals(entryBegins)) return tail;
      tail = start + begin;
    }
    end = start;
  }
  return tail;
}

function* parsedLines(file: number, start: number, end: number): Generator<AuditLine> {
  let number = 0;
  for (const text of linesOf(file, start, end)) {
    number += 1;
    const line = parseLine(text);
    if (line === undefined)
      throw new UnreadableAuditLog(
        start === 0
          ? `line ${number} is not a line of an audit export`
          : `line ${number}, after the entries, is not a line of an audit export`,
      );
    yield line;
  }
}

/** Entries are many: they are not given to a schema. */
function parseLine(text: string): AuditLine | undefined {
  const value = jsonOrNothing(text);
  if (typeof value !== 'object' || value === null) return undefined;
  if ('entry' in value && Object.keys(value).length === 1)
    return isAuditEntry(value.entry) ? { entry: value.entry } : undefined;
  return auditLine.safeParse(value).data;
}

const blockBytes = 1024 * 1024;
const nothing = Buffer.alloc(0);

function* linesOf(file: number, from: number, to: number): Generator<string> {
  const block = Buffer.alloc(blockBytes);
  let rest = nothing;
  for (let at = from; at < to; ) {
    const length = readSync(file, block, 0, Math.min(blockBytes, to - at), at);
    if (length === 0) break;
    at += length;
    const read = block.subarray(0, length);
    let start = 0;
    for (let end = read.indexOf(10); end >= 0; end = read.indexOf(10, start)) {
      if (rest.length === 0) yield read.toString('utf8', start, end);
      else yield Buffer.concat([rest, read.subarray(start, end)]).toString('utf8');
      rest = nothing;
      start = end + 1;
    }
    rest = Buffer.concat([rest, read.subarray(start)]);
    if (rest.length > lineBytes) throw new UnreadableAuditLog('a line is longer than any entry');
  }
  if (rest.length > 0) throw new UnreadableAuditLog('the last line is cut short');
}
