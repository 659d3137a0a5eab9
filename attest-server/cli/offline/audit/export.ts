import { closeSync, existsSync, openSync, truncateSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import type { AuditLine } from '../../../api/audit-pages.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { readLiveAuditLog } from '../../live-audit-log.ts';
import { createProgress } from '../../progress.ts';
import { unwritable } from '../../write-file.ts';
import { beginsWith } from './begins-with.ts';
import { readAuditLog } from './log-in-file.ts';
import { AuditLogCheck, UnreadableAuditLog, type VerifiedPart } from './verify-log.ts';

/** `audit export FILE|-`: keys, entries and checkpoints as JSON lines. */
export async function exportAuditLog(
  { io, server }: CliContext,
  file: string,
  resume: boolean,
): Promise<void> {
  if (file === '-') {
    if (resume) throw new CliError('standard output cannot be resumed', 'Name a file.', exit.usage);
    for await (const line of readLiveAuditLog(await server())) io.out(textOf(line));
    return;
  }
  const path = resolve(io.cwd, file);
  const before = resume && existsSync(path) ? goodPart(path) : null;
  const check = new AuditLogCheck(null, before?.part ?? null);
  const progress = createProgress(io);
  const lines = readLiveAuditLog(await server(), check.size);
  const handle = openForWriting(path, before === null ? 'w' : 'a');
  try {
    for await (const line of lines) {
      const isKnown = before !== null && 'entry' in line && line.entry.seq <= check.size;
      // What is appended must go on from what is there. Else an export is what the server has, right or wrong.
      if (before !== null && !check.take(line))
        throw new CliError(
          `the server's audit log is not the one in ${path}`,
          'Check it with assay audit verify, and export to another file.',
          exit.untrusted,
        );
      if (!isKnown) writeSync(handle, textOf(line));
      if ('entry' in line) progress(line.entry.seq);
    }
  } finally {
    closeSync(handle);
  }
}

function textOf(line: AuditLine): string {
  return `${JSON.stringify(line)}\n`;
}

/** Cuts off what is behind the last checkpoint that verifies. @throws CliError if nothing of it does */
function goodPart(path: string): { readonly part: VerifiedPart } {
  const check = new AuditLogCheck(null);
  let [bytes, good] = [0, 0];
  let part: VerifiedPart | null = null;
  try {
    if (isOfToday(path))
      for (const line of readAuditLog(path)) {
        if (!check.take(line)) break;
        bytes += Buffer.byteLength(textOf(line));
        if (check.verified === part) continue;
        part = check.verified;
        good = bytes;
      }
  } catch (error) {
    if (!(error instanceof UnreadableAuditLog)) throw error;
  }
  if (part === null)
    throw new CliError(`nothing in ${path} can be resumed`, 'Export without --resume.', exit.usage);
  truncateSync(path, good);
  return { part };
}

/** An export of 0.1.0 has its checkpoints at the end: nothing is added to that. */
function isOfToday(path: string): boolean {
  return beginsWith(path, Buffer.from('{"origin":'));
}

function openForWriting(path: string, flags: 'w' | 'a'): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}
