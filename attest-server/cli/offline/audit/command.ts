import { resolve } from 'node:path';
import { parseCheckpoint } from '../../../wire/checkpoint.ts';
import { printable } from '../../../wire/printable.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import type { CliIo } from '../../io.ts';
import { readLiveAuditLog } from '../../live-audit-log.ts';
import { type Format, print } from '../../output.ts';
import { createProgress } from '../../progress.ts';
import { readAuditLog, readWitness } from './log-in-file.ts';
import { readVerified, verifiedPlace, writeVerified } from './verified-part.ts';
import { AuditLogCheck, type AuditLogResult, UnreadableAuditLog, type Witness } from './verify-log.ts';

export interface AuditVerifyOptions {
  readonly checkpoint?: string;
  readonly resume?: boolean;
  readonly output: Format;
}

/** `audit verify [FILE]`: exits 10 and names the first entry that is wrong or missing. */
export async function verifyAuditLog(
  context: CliContext,
  file: string | undefined,
  { checkpoint, resume = false, output: format }: AuditVerifyOptions,
): Promise<void> {
  const { io, exitWith } = context;
  const at = (path: string) => resolve(io.cwd, path);
  const witness = checkpoint === undefined ? null : readWitness(at(checkpoint));
  if (file !== undefined && resume)
    throw new CliError(
      '--resume works only with the server: a file is always verified whole',
      'Leave out --resume, or the file.',
      exit.usage,
    );
  const result =
    file === undefined ? await verifyLive(context, witness, resume) : verifyFile(at(file), witness, io);
  await print(io, format, result, () => page(result));
  exitWith(result.ok ? exit.ok : exit.untrusted);
}

function verifyFile(path: string, witness: Witness | null, io: CliIo): AuditLogResult {
  const check = new AuditLogCheck(witness);
  const progress = createProgress(io);
  try {
    for (const line of readAuditLog(path)) {
      if (!check.take(line)) break;
      progress(check.size);
    }
  } catch (error) {
    if (!(error instanceof UnreadableAuditLog)) throw error;
    check.unreadable(error);
  }
  return check.end();
}

/**
 * Verifies a live log, and writes down from time to time how far: whoever is interrupted goes on from there with `--resume`.
 * Whoever names no other witness compares with it, too: what was signed once must still be there.
 */
async function verifyLive(
  { io, server }: CliContext,
  witness: Witness | null,
  resume: boolean,
): Promise<AuditLogResult> {
  const client = await server();
  const place = verifiedPlace(io, client.server);
  const before = readVerified(place, resume);
  const part = resume ? (before?.part ?? null) : null;
  const isOwn = witness === null && before !== null && before.latest !== part?.checkpoint;
  const check = new AuditLogCheck(isOwn ? { checkpoint: before.latest, publicKey: null } : witness, part);
  const remember = () => writeVerified(place, check.verified, before);
  const progress = createProgress(io, remember);
  for await (const line of readLiveAuditLog(client, check.size)) {
    if (!check.take(line)) break;
    progress(check.size);
  }
  remember();
  const result = check.end();
  if (result.fault === null || !isOwn) return result;
  const { size } = parseCheckpoint(before.latest);
  const text = `${result.fault.text}; ${size} entries were verified from this machine before. Once you know why they changed, remove ${place}`;
  return { ...result, fault: { ...result.fault, text } };
}

function page({ ok, origin, earlier, resumedAfter, size, signed, witnessed, fault }: AuditLogResult): string {
  if (!ok) return `${printable(fault?.text ?? 'the audit log is not in order')}\n`;
  const rest = size === signed ? '' : `; entries ${signed + 1} to ${size} are not signed yet`;
  const witness = witnessed
    ? 'witnessed: the log agrees with a checkpoint that was kept outside the server'
    : 'unwitnessed: anybody who holds the server’s key could have rewritten the whole log (--checkpoint FILE checks that)';
  const lost = earlier.map(
    (each) => `the key of ${each.origin} was lost: it signed the first ${each.signed} entries\n`,
  );
  const known =
    resumedAfter === 0 ? '' : `the first ${resumedAfter} were verified before and were not read again\n`;
  return `${origin}: ${size} entries in order, ${signed} of them signed${rest}\n${known}${lost.join('')}${witness}\n`;
}
