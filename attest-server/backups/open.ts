/**
 * Copies of the database that the server makes by itself (`backup.everyHours`): into a folder of its own kind
 * (`folder`), so many of them, and never into the room that is kept for a full disk.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { backupName } from '../formats/backup-name.ts';
import { checkRoom, copiesIn, type FolderBounds, prepareFolder, removeOlder } from './folder.ts';

export interface BackupConfig {
  /** Milliseconds. */
  readonly every: number;
  readonly directory: string;
  readonly keep: number;
  /** Name of this server in the names of its copies: several may share the folder. */
  readonly instance: string;
}

export interface BackupParts extends FolderBounds {
  /** Writes a whole copy, which is on the disk when it resolves, with its entry in the audit log. */
  readonly backUp: (path: string) => Promise<{ readonly bytes: number }>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly report: {
    /** @param latest the newest copy, milliseconds since the epoch; null if there is none */
    found(latest: number | null): void;
    made(copy: { readonly path: string; readonly bytes: number; readonly removed: number }, at: number): void;
    failed(error: unknown): void;
  };
}

/** How often it is looked whether a copy is due, and how long a failed one waits for the next try, in milliseconds. */
const lookEvery = 60_000;
const tryAgainAfter = 15 * 60_000;
/** How long the end of the server waits for a copy; one that is cut off is removed by the next start. */
const endWithin = 2_000;

/** Copies of this server in their folder, as they were when it last looked. Times are milliseconds since the epoch. */
export interface ShownBackups {
  readonly directory: string;
  /** Milliseconds. */
  readonly every: number;
  readonly keep: number;
  readonly count: number;
  /** Of the latest copy; null if there is none. */
  readonly latestAt: number | null;
  /** It was due for longer than a second try takes. */
  readonly isOverdue: boolean;
  /** Why the latest try failed; null if it did not. */
  readonly fault: string | null;
}

export interface Backups extends AsyncDisposable {
  /** Null: the server makes none by itself. */
  shown(): ShownBackups | null;
}

/** Nothing that goes wrong with a copy stops the server: it is reported, and tried again. */
export function openBackups(config: BackupConfig | null, parts: BackupParts): Backups {
  if (config === null) return { shown: () => null, async [Symbol.asyncDispose]() {} };
  const { directory, every, keep, instance } = config;
  const { now, report } = parts;
  let making: Promise<void> | null = null;
  let triedAt = Number.NEGATIVE_INFINITY;
  let isClosed = false;
  let found: Pick<ShownBackups, 'count' | 'latestAt' | 'fault'> = { count: 0, latestAt: null, fault: null };
  const openedAt = now();

  /** One of the future is of a time when the clock was wrong. */
  function lookAtCopies(at: number): number | null {
    const copies = copiesIn(directory, instance);
    const latestAt = copies.find((copy) => copy.at <= at)?.at ?? null;
    found = { ...found, count: copies.length, latestAt };
    return latestAt;
  }
  async function make(): Promise<void> {
    try {
      prepareFolder(directory, instance, parts);
      const at = now();
      const latest = lookAtCopies(at);
      report.found(latest);
      if (latest !== null && at - latest < every) return;
      checkRoom(directory, parts);
      triedAt = at;
      const path = join(directory, backupName(instance, at));
      const { bytes } = await parts.backUp(path);
      if (isClosed) return;
      report.made({ path, bytes, removed: removeOlder(directory, instance, keep, path) }, at);
      found = { ...found, fault: null };
      lookAtCopies(at);
    } catch (error) {
      triedAt = now();
      found = { ...found, fault: faultOf(error) };
      if (!isClosed) report.failed(error);
    }
  }

  const look = () => {
    // A clock that was set back must not keep it from trying.
    if (Math.abs(now() - triedAt) < Math.min(every, tryAgainAfter)) return;
    making ??= make().finally(() => {
      making = null;
    });
  };
  look();
  const looking = setInterval(look, Math.min(lookEvery, every));
  return {
    shown() {
      const dueAt = found.latestAt === null ? openedAt : found.latestAt + every;
      return { directory, every, keep, ...found, isOverdue: now() - dueAt > 2 * tryAgainAfter };
    },
    async [Symbol.asyncDispose]() {
      clearInterval(looking);
      await Promise.race([making, sleep(endWithin, undefined, { ref: false })]);
      isClosed = true;
    },
  };
}

/** With its cause: that names the folder. */
function faultOf(error: unknown): string {
  const [message, cause] = error instanceof Error ? [error.message, error.cause] : [String(error), null];
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
