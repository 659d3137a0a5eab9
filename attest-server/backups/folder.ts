import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  realpathSync,
  statfsSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { parseBackupName } from '../formats/backup-name.ts';
import { StorageFault } from '../formats/server-fault.ts';
import { checkPrivateFolder, preparePrivateFolder } from '../state/private-file.ts';
import { closeToVolumeGroup } from '../state/volume-group.ts';

/** Bounds of the folder: it must leave keys, state and the kept room alone. */
export interface FolderBounds {
  readonly stateDir: string;
  readonly keysDir: string;
  /** Bytes of the database. */
  readonly size: () => number;
  /** Whether so many bytes less would touch the room that is kept for people. */
  readonly needsRoom: (bytes: number) => boolean;
}

interface Copy {
  readonly path: string;
  /** Milliseconds since the epoch, by its name. */
  readonly at: number;
}

/**
 * Makes the folder where it is missing, and removes what a killed server left in it.
 * @throws Error if it is open to others, or in the state folder or that of the keys
 */
export function prepareFolder(
  directory: string,
  instance: string,
  { stateDir, keysDir }: Pick<FolderBounds, 'stateDir' | 'keysDir'>,
): void {
  checkParent(directory);
  closeToVolumeGroup(directory);
  preparePrivateFolder(directory);
  checkElsewhere(directory, [stateDir, keysDir]);
  for (const name of filesIn(directory)) {
    const whole = name.replace(/\.part(-journal|-wal|-shm)?$/, '');
    if (whole !== name && parseBackupName(whole)?.instance === instance) unlinkSync(join(directory, name));
  }
}

/**
 * Looks whether a server of this user could make a copy there, and changes nothing.
 * @throws Error naming what is wrong; StorageFault if there is no room for one
 */
export function checkFolder(directory: string, bounds: FolderBounds): void {
  checkParent(directory);
  checkPrivateFolder(directory);
  const existing = existsSync(directory) ? directory : dirname(directory);
  accessSync(existing, constants.W_OK | constants.X_OK);
  checkElsewhere(
    existing,
    [bounds.stateDir, bounds.keysDir].filter((folder) => existsSync(folder)),
  );
  if (existsSync(bounds.stateDir)) checkRoom(existing, bounds);
}

/** @throws StorageFault if a copy would use the room reserved for a full disk, or does not fit */
export function checkRoom(
  directory: string,
  { stateDir, size, needsRoom }: Pick<FolderBounds, 'stateDir' | 'size' | 'needsRoom'>,
): void {
  const bytes = size();
  const { bavail, bsize } = statfsSync(directory);
  const isOneDisk = statSync(directory).dev === statSync(stateDir).dev;
  if (bavail * bsize < bytes || (isOneDisk && needsRoom(bytes)))
    throw new StorageFault(
      'disk_full',
      new Error(`${directory} has no room for ${bytes} bytes more than what is kept for a full disk`),
    );
}

/** Copies of this server alone, the latest first. */
export function copiesIn(directory: string, instance: string): readonly Copy[] {
  return filesIn(directory)
    .flatMap((name) => {
      const parsed = parseBackupName(name);
      return parsed?.instance === instance ? [{ path: join(directory, name), at: parsed.at }] : [];
    })
    .sort((a, b) => b.at - a.at);
}

/** Removes all but so many of its latest copies, and never the one that was just made. @returns how many it removed */
export function removeOlder(directory: string, instance: string, keep: number, made: string): number {
  const others = copiesIn(directory, instance).filter(({ path }) => path !== made);
  const older = others.slice(keep - 1);
  for (const { path } of older) unlinkSync(path);
  const folder = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
  return older.length;
}

/** Names of plain files: a link is never followed, and never removed. */
function filesIn(directory: string): readonly string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}

function checkParent(directory: string): void {
  // A volume that is not mounted: copies would fill the disk below it, and nobody would see that.
  if (!existsSync(dirname(directory)))
    throw new Error(
      `${dirname(directory)} is missing: mount the volume of backup.directory, or make that folder`,
    );
}

function checkElsewhere(directory: string, taken: readonly string[]): void {
  const real = realpathSync(directory);
  for (const folder of taken.map((each) => realpathSync(each)))
    if (real === folder || real.startsWith(`${folder}${sep}`))
      throw new Error(
        `backup.directory (${directory}) is in ${folder}, and would be lost with it: name a folder on another disk`,
      );
}
