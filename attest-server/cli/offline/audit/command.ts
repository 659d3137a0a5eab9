import { resolve } from 'node:path';
import { printable } from '../../../protocol/printable.ts';
import type { CliContext } from '../../context.ts';
import { exit } from '../../exit.ts';
import { readLiveAuditLog } from '../../live-audit-log.ts';
import { type Format, print } from '../../output.ts';
import { readAuditLog, readWitness } from './log-in-file.ts';
import { type AuditLogResult, checkAuditLog } from './verify-log.ts';

export interface AuditVerifyOptions {
  readonly checkpoint?: string;
  readonly output: Format;
}

/** `audit verify [FILE]`: exits 10 and names the first entry that is wrong or missing. */
export async function verifyAuditLog(
  { io, server, exitWith }: CliContext,
  file: string | undefined,
  { checkpoint, output: format }: AuditVerifyOptions,
): Promise<void> {
  const at = (path: string) => resolve(io.cwd, path);
  const witness = checkpoint === undefined ? null : readWitness(at(checkpoint));
  const lines = file === undefined ? readLiveAuditLog(await server()) : readAuditLog(at(file));
  const result = await checkAuditLog(lines, witness);
  await print(io, format, result, () => page(result));
  exitWith(result.ok ? exit.ok : exit.untrusted);
}

function page({ ok, origin, earlier, size, signed, witnessed, fault }: AuditLogResult): string {
  if (!ok) return `${printable(fault?.text ?? 'the audit log is not in order')}\n`;
  const rest = size === signed ? '' : `; entries ${signed + 1} to ${size} are not signed yet`;
  const witness = witnessed
    ? 'witnessed: a checkpoint from elsewhere fits'
    : 'unwitnessed: who holds the key of the server could have rewritten all of it (--checkpoint FILE)';
  const lost = earlier.map(
    (each) => `the key of ${each.origin} was lost: it signed the first ${each.signed} entries\n`,
  );
  return `${origin}: ${size} entries in order, ${signed} of them signed${rest}\n${lost.join('')}${witness}\n`;
}
