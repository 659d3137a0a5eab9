import { closeSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { resolveAnswer, rotateAnswer } from '../../protocol/audit-pages.ts';
import type { CliContext } from '../context.ts';
import { readLiveAuditLog } from '../live-audit-log.ts';
import { unwritable } from '../write-file.ts';

/** `audit export FILE|-`: entries, keys and checkpoints as JSON lines. */
export async function exportAuditLog({ io, server }: CliContext, file: string): Promise<void> {
  const lines = readLiveAuditLog(await server());
  if (file === '-') {
    for await (const line of lines) io.out(`${JSON.stringify(line)}\n`);
    return;
  }
  const path = resolve(io.cwd, file);
  const handle = openForWriting(path);
  try {
    for await (const line of lines) writeSync(handle, `${JSON.stringify(line)}\n`);
  } finally {
    closeSync(handle);
  }
}

/** `audit rotate-key`: the old key signs the new one. */
export async function rotateAuditKey({ io, server }: CliContext): Promise<void> {
  const { keyId } = await (await server()).post('/v1/audit/keys', {}, rotateAnswer);
  io.out(`the audit log is signed by the key ${keyId} from now on; back up audit.key of the state folder\n`);
}

/** `audit resolve --reason R`: a person knows why the log is another one than was signed. */
export async function resolveRollback({ io, server }: CliContext, reason: string): Promise<void> {
  const { wasReported } = await (await server()).post('/v1/audit/resolve', { reason }, resolveAnswer);
  io.out(
    wasReported
      ? 'resolved: the reason and the first proof are in the audit log\n'
      : 'nothing was reported since the last time; the reason is in the audit log\n',
  );
}

function openForWriting(path: string): number {
  try {
    return openSync(path, 'w', 0o600);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}
