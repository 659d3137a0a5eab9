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

/** Nothing that goes wrong with a copy stops the server: it is reported, and tried again. */
export function openBackups(config: BackupConfig | null, parts: BackupParts): AsyncDisposable {
  if (config === null) return { async [Symbol.asyncDispose]() {} };
  const { directory, every, keep, instance } = config;
  const { now, report } = parts;
  let making: Promise<void> | null = null;
  let triedAt = Number.NEGATIVE_INFINITY;
  let isClosed = false;

  async function make(): Promise<void> {
    try {
      prepareFolder(directory, instance, parts);
      const at = now();
      const latest = copiesIn(directory, instance).find((copy) => copy.at <= at)?.at ?? null;
      report.found(latest);
      if (latest !== null && at - latest < every) return;
      checkRoom(directory, parts);
      triedAt = at;
      const path = join(directory, backupName(instance, at));
      const { bytes } = await parts.backUp(path);
      if (isClosed) return;
      report.made({ path, bytes, removed: removeOlder(directory, instance, keep, path) }, at);
    } catch (error) {
      triedAt = now();
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
    async [Symbol.asyncDispose]() {
      clearInterval(looking);
      await Promise.race([making, sleep(endWithin, undefined, { ref: false })]);
      isClosed = true;
    },
  };
}
