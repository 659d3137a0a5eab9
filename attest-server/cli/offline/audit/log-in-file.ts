import { createReadStream, readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { type AuditLine, auditLine } from '../../../protocol/audit-pages.ts';
import { checkpointLength } from '../../../protocol/checkpoint.ts';
import { CliError } from '../../exit.ts';
import { unreadable } from '../../read-file.ts';
import { isDatabase, readDatabase } from './log-in-database.ts';
import { UnreadableAuditLog, type Witness } from './verify-log.ts';

/** No entry is as long as this: longer lines are not held in memory. */
const lineBytes = 1024 * 1024;

/** Reads an export, or a database or its backup. @throws CliError, UnreadableAuditLog */
export function readAuditLog(path: string): AsyncIterable<AuditLine> {
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
  const kept = keptByAgent.safeParse(parseJson(text)).data;
  if (kept === undefined)
    throw new CliError(`${path} holds no checkpoint`, 'Name a signed note, or the file that an agent keeps.');
  return kept;
}

const keptByAgent = z.strictObject({ publicKey: z.string(), checkpoint: z.string() });

async function* readExport(path: string): AsyncGenerator<AuditLine> {
  let number = 0;
  for await (const text of linesOf(path)) {
    number += 1;
    const line = auditLine.safeParse(parseJson(text)).data;
    if (line === undefined) throw new UnreadableAuditLog(`line ${number} is no line of an export`);
    yield line;
  }
}

async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = Buffer.alloc(0);
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([rest, chunk.subarray(start, end)]).toString('utf8');
      rest = Buffer.alloc(0);
      start = end + 1;
    }
    rest = Buffer.concat([rest, chunk.subarray(start)]);
    if (rest.length > lineBytes) throw new UnreadableAuditLog('a line is longer than any entry');
  }
  if (rest.length > 0) throw new UnreadableAuditLog('the last line is cut short');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
