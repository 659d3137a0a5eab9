import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { checkpointLength, originPattern, parseCheckpoint } from '../../../wire/checkpoint.ts';
import { CliError, exit } from '../../exit.ts';
import type { CliIo } from '../../io.ts';
import type { VerifiedPart } from './verify-log.ts';

const note = z
  .string()
  .max(checkpointLength)
  .refine((text) => parseCheckpoint(text).size > 0);
const shape = z.strictObject({
  version: z.literal(1),
  checkpoint: note,
  latest: note,
  earlier: z
    .array(z.strictObject({ origin: z.string().regex(originPattern), signed: z.int().min(0) }))
    .max(64),
  rollback: z.int().min(1).nullable(),
});

/** The memory of one server's log at a client. */
export interface RememberedLog {
  /** From where it may be resumed: nothing wrong was found up to there the last time. */
  readonly part: VerifiedPart;
  /** The note of the longest log that was ever verified: what it signs must be there for good. */
  readonly latest: string;
}

/** `$XDG_STATE_HOME/assay/audit-<server>.json`, or below `~/.local/state`; null if neither is known. */
export function verifiedPlace({ env }: CliIo, server: URL): string | null {
  const home = env.HOME ? join(env.HOME, '.local', 'state') : null;
  const state = env.XDG_STATE_HOME && isAbsolute(env.XDG_STATE_HOME) ? env.XDG_STATE_HOME : home;
  const name = hash('sha256', server.host, 'hex').slice(0, 16);
  return state === null ? null : join(state, 'assay', `audit-${name}.json`);
}

/** Null if nothing was verified yet. @param isNeeded else what cannot be read is nothing. @throws CliError */
export function readVerified(place: string | null, isNeeded: boolean): RememberedLog | null {
  if (place === null && !isNeeded) return null;
  if (place === null)
    throw new CliError('it is not known what was verified before', 'Set XDG_STATE_HOME or HOME.', exit.usage);
  try {
    const { checkpoint, latest, earlier, rollback } = shape.parse(JSON.parse(readFileSync(place, 'utf8')));
    return { part: { checkpoint, earlier, rollback }, latest };
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    if (!isNeeded) return null;
    throw new CliError(
      `${place} cannot be read`,
      'Verify without --resume once: that writes it down again.',
      exit.error,
      cause,
    );
  }
}

/**
 * Writes down how far a log is verified. A failure costs whoever resumes time, and this run nothing. @param before what was
 * remembered until now
 */
export function writeVerified(
  place: string | null,
  part: VerifiedPart | null,
  before: RememberedLog | null,
): void {
  if (place === null || part === null) return;
  const { checkpoint, earlier, rollback } = part;
  const isLatest = before === null || sizeOf(checkpoint) >= sizeOf(before.latest);
  const latest = isLatest ? checkpoint : before.latest;
  try {
    mkdirSync(dirname(place), { recursive: true, mode: 0o700 });
    writeFileSync(
      `${place}.new`,
      `${JSON.stringify({ version: 1, checkpoint, latest, earlier, rollback })}\n`,
      { mode: 0o600 },
    );
    renameSync(`${place}.new`, place);
  } catch (error) {
    if (error instanceof Error && 'code' in error) return;
    throw error;
  }
}

function sizeOf(checkpoint: string): number {
  return parseCheckpoint(checkpoint).size;
}
