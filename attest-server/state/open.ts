/**
 * The state folder: its one lock, private files (`private-file`), files that are whole or not at all
 * (`whole-file`), what a kubelet opened to a group (`volume-group`), when a server last ran, what a killed one
 * left (`leftovers`), the room that is kept for a full disk (`reserve`), and damage that the file of a database
 * shows (`file-damage`).
 */

import { existsSync, readFileSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { acquireLock } from 'node-tpm2/lock';
import { ToolError } from 'node-tpm2/run';
import { storageCauseOf } from '../formats/server-fault.ts';
import { removeLeftovers } from './leftovers.ts';
import { preparePrivateFolder } from './private-file.ts';
import { openReserve, type Reserve, shareOfDisk } from './reserve.ts';
import { upgradedFor } from './version-file.ts';
import { closeToVolumeGroup, type OpenedToGroup } from './volume-group.ts';

/** The state folder, ours alone until this is disposed of or the process dies. */
export interface State extends AsyncDisposable {
  readonly dir: string;
  /** When a server last ran here: milliseconds since the epoch; null if none ran yet. */
  readonly lastAlive: number | null;
  /** Notes that a server runs. @param now milliseconds since the epoch */
  beat(now: number): Promise<void>;
  /**
   * Milliseconds for which this version has been the one of this folder; null if no other one ran here before.
   * @param now milliseconds since the epoch
   */
  upgradedFor(version: string, now: number): number | null;
  /** Files that a kubelet had opened to the group of its volume, now closed again; null if there were none. */
  readonly wasOpened: OpenedToGroup | null;
  /** Room that is kept for the time when the disk is full. */
  readonly reserve: Reserve;
  /** Bytes that may be kept of one node: a twentieth of the file system, 1 MiB at least. @param most as it is configured */
  nodeShare(most: number): number;
  /** Bytes on its file system, free for us and in all; null if it does not say. */
  space(): { readonly free: number | null; readonly total: number | null };
}

/**
 * Makes the folder, or checks that the one found is private, and locks it: two servers on one folder would each keep
 * half of the truth.
 * @throws StateInUse if another process has it; Error where it is open to others; ToolError
 */
export async function openState(dir: string): Promise<State> {
  const wasOpened = closeToVolumeGroup(dir);
  preparePrivateFolder(dir);
  const release = await lock(dir);
  try {
    removeLeftovers(dir);
    const lastAlive = await readLastAlive(dir);
    return {
      dir,
      lastAlive,
      wasOpened,
      upgradedFor: (version, now) => upgradedFor(dir, version, now, lastAlive !== null),
      beat: (now) => beat(dir, now),
      reserve: openReserve(dir),
      nodeShare: (most) => Math.max(shareOfDisk(dir, most, 20), Math.min(most, leastShare)),
      space: () => space(dir),
      [Symbol.asyncDispose]: release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

/** On a file system that is too small for twenty nodes anyway. */
const leastShare = 1024 * 1024;

/** Another process has the state folder. */
export class StateInUse extends Error {
  override readonly name = 'StateInUse';
  readonly dir: string;
  /** Null if it is not known. */
  readonly pid: number | null;

  constructor(dir: string, pid: number | null, cause: unknown) {
    const who = pid === null ? 'another process' : `the process ${pid}`;
    super(`the state folder ${dir} is in use by ${who}: stop that server first, or name another folder`, {
      cause,
    });
    this.dir = dir;
    this.pid = pid;
  }
}

/** The lock is the kernel's, and goes with the process; who has it only says so in the file. */
async function lock(dir: string): Promise<() => Promise<void>> {
  const file = join(dir, 'lock');
  const release = await acquireLock({ file, timeoutMs: 0 }).catch((error: unknown) => {
    const isHeld = error instanceof ToolError && error.code === 'lock_failed' && error.retryable;
    throw isHeld ? new StateInUse(dir, holder(file), error) : error;
  });
  try {
    writeFileSync(file, `${process.pid}\n`);
  } catch (error) {
    // It only names the holder of the lock, and nobody if the disk is full.
    if (storageCauseOf(error) !== 'disk_full') throw error;
  }
  return async () => {
    if (existsSync(file)) truncateSync(file);
    await release();
  };
}

function holder(file: string): number | null {
  const pid = Number(readFileSync(file, 'utf8'));
  // One that died left its number: who has the lock now did not write his yet.
  return Number.isInteger(pid) && pid > 0 && existsSync(`/proc/${pid}`) ? pid : null;
}

/** The file's time of change says when a server last ran on this state folder. */
const alive = (dir: string) => join(dir, 'alive');

async function readLastAlive(dir: string): Promise<number | null> {
  try {
    return (await stat(alive(dir))).mtimeMs;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function beat(dir: string, now: number): Promise<void> {
  try {
    await utimes(alive(dir), now / 1000, now / 1000);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await writeFile(alive(dir), '', { flag: 'wx', mode: 0o600 });
    await utimes(alive(dir), now / 1000, now / 1000);
  }
}

function space(dir: string): { readonly free: number | null; readonly total: number | null } {
  const { bsize, bavail, blocks } = statfsSync(dir);
  // A file system without blocks of its own says 0.
  return blocks === 0 ? { free: null, total: null } : { free: bavail * bsize, total: blocks * bsize };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
