import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { checkpointLength, originPattern, parseCheckpoint } from '../../../protocol/checkpoint.ts';
import type { CliIo } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import type { VerifiedPart } from './verify-log.ts';

const shape = z.strictObject({
  version: z.literal(1),
  checkpoint: z
    .string()
    .max(checkpointLength)
    .refine((note) => parseCheckpoint(note).size > 0),
  earlier: z
    .array(z.strictObject({ origin: z.string().regex(originPattern), signed: z.int().min(0) }))
    .max(64),
  rollback: z.int().min(1).nullable(),
});

/** `$XDG_STATE_HOME/assay/audit-<server>.json`, or below `~/.local/state`; null where neither is known. */
export function verifiedPlace({ env }: CliIo, server: URL): string | null {
  const home = env.HOME ? join(env.HOME, '.local', 'state') : null;
  const state = env.XDG_STATE_HOME && isAbsolute(env.XDG_STATE_HOME) ? env.XDG_STATE_HOME : home;
  const name = hash('sha256', server.host, 'hex').slice(0, 16);
  return state === null ? null : join(state, 'assay', `audit-${name}.json`);
}

/** Null where nothing was verified yet. @throws CliError where it cannot be read */
export function readVerified(place: string | null): VerifiedPart | null {
  if (place === null)
    throw new CliError('nothing says what was verified before', 'Set XDG_STATE_HOME or HOME.', exit.usage);
  try {
    const { checkpoint, earlier, rollback } = shape.parse(JSON.parse(readFileSync(place, 'utf8')));
    return { checkpoint, earlier, rollback };
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new CliError(
      `${place} cannot be read`,
      'Verify without --resume: it is written anew.',
      exit.error,
      cause,
    );
  }
}

/** What cannot be written costs whoever resumes time, and this run nothing. */
export function writeVerified(place: string | null, part: VerifiedPart | null): void {
  if (place === null || part === null) return;
  const { checkpoint, earlier, rollback } = part;
  try {
    mkdirSync(dirname(place), { recursive: true, mode: 0o700 });
    writeFileSync(`${place}.new`, `${JSON.stringify({ version: 1, checkpoint, earlier, rollback })}\n`, {
      mode: 0o600,
    });
    renameSync(`${place}.new`, place);
  } catch (error) {
    if (error instanceof Error && 'code' in error) return;
    throw error;
  }
}
