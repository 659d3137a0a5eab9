import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  rmSync,
  type StatsFs,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { storageCauseOf } from '../formats/server-fault.ts';
import { checkPrivateFile } from './private-file.ts';

/** Room on the disk that is kept for the time when it is full: revocations and audit entries go there then. */
export interface Reserve {
  /** Gives the room to whoever writes next. */
  free(): void;
  /** Takes room again if twice as much is free; false, with nothing taken, if it is not. */
  take(): boolean;
  /** Whether the room is taken. */
  readonly isTaken: boolean;
  /**
   * Whether less of the disk is free than is left to people, of which nodes take nothing, however many there are.
   * @param own bytes that the database has free within its file
   */
  isTouched(own: number): boolean;
}

const most = 4 * 1024 * 1024;
/** Left to people: an eighth of the file system at most. */
const mostForPeople = 64 * 1024 * 1024;

/** @throws Error if the file is open to others */
export function openReserve(dir: string): Reserve {
  const path = join(dir, 'reserve');
  checkPrivateFile(path);
  const size = shareOfDisk(dir, most);
  let isTaken = sizeOf(path) === size;
  const free = () => {
    rmSync(path, { force: true });
    isTaken = false;
  };
  // Of one that was killed while it took it, or of a disk of another size: nobody would ever give that back.
  if (!isTaken) free();
  return {
    free,
    take() {
      if (isTaken) return true;
      // What is free for anybody: a disk that has less has no room for us either.
      const { bfree, bsize } = statfsSync(dir);
      if (bfree * bsize < 2 * size) return false;
      try {
        writeTwice(path, size);
        isTaken = true;
      } catch (error) {
        free();
        if (!isFull(error)) throw error;
      }
      return isTaken;
    },
    isTouched: (own) => isReserveTouched(dir, own),
    get isTaken() {
      return isTaken;
    },
  };
}

/** The same of a state folder that no server of this process has opened. */
export function isReserveTouched(dir: string, own: number): boolean {
  const disk = statfsSync(dir);
  return disk.bfree * disk.bsize + own < shareOf(disk, mostForPeople);
}

/** A part of the file system that holds this folder, in bytes: one of eight, if not said otherwise; at most `most`. */
export function shareOfDisk(dir: string, most: number, ofParts = 8): number {
  return shareOf(statfsSync(dir), most, ofParts);
}

function shareOf({ blocks, bsize }: StatsFs, most: number, ofParts = 8): number {
  return Math.min(most, Math.floor((blocks * bsize) / ofParts));
}

/** Only who finds room for it twice keeps it once: else the next write would find none. */
function writeTwice(path: string, size: number): void {
  rmSync(path, { force: true });
  const file = openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
  try {
    // Random: a file system that compresses or leaves holes keeps no room for zeros.
    const block = randomBytes(Math.min(size, 1024 * 1024));
    for (let left = 2 * size; left > 0; ) left -= writeSync(file, block, 0, Math.min(left, block.length));
    ftruncateSync(file, size);
  } finally {
    closeSync(file);
  }
}

function sizeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.size ?? null;
}

function isFull(error: unknown): boolean {
  return storageCauseOf(error) === 'disk_full';
}
