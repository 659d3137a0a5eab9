import type { DeclaredFault } from '../formats/declared.ts';
import { DirectoryFault } from './directory-fault.ts';
import { snapshotOf } from './snapshot.ts';

export interface DirectoryReaderParts {
  readonly directory: string;
  /** Reads it, and puts it in force. @throws DirectoryFault */
  readonly read: () => Promise<void>;
  /** It counts as it is. */
  readonly reloaded: () => void;
  /** It does not count: what was in force stays. */
  readonly notReloaded: (error: Error) => void;
  readonly fault: (error: unknown, where: string) => void;
}

export interface DirectoryReader {
  /** Reads the directory where it may say something else than before, and tells what became of it; one after the other. */
  look(isFirst: boolean): Promise<void>;
  /** Reads it anyway, and leaves it to the caller to tell. @throws DirectoryFault */
  readNow(): Promise<void>;
}

/** When a directory is read: each time that it changes, and now and then where its fault may have passed by itself. */
export function createDirectoryReader({
  directory,
  read,
  reloaded,
  notReloaded,
  fault,
}: DirectoryReaderParts): DirectoryReader {
  /** How the directory was when it was last read, and when it was last seen to be faulty. */
  let [known, doubted]: (string | null)[] = [null, null];
  /** The fault that was last reported; null: none. */
  let told: DirectoryFault | null = null;
  let looksLeft = 0;
  let doubts = 0;

  const readAs = async (mark: string) => {
    await read();
    [known, told, doubts] = [mark, null, 0];
  };
  const isToTell = (error: DirectoryFault, mark: string) => {
    const isNew = mark !== known || error.message !== told?.message;
    [known, told, looksLeft] = [mark, error, looksBetweenTries];
    return isNew;
  };

  return {
    async look(isFirst) {
      const mark = await markOf(directory);
      looksLeft -= 1;
      const isAgain = told !== null && passing.has(told.code) && looksLeft <= 0;
      if (mark === known && !isAgain) return;
      try {
        await readAs(mark);
        reloaded();
      } catch (error) {
        if (!(error instanceof DirectoryFault)) return fault(error, 'declared directory');
        doubts = mark === doubted ? mostDoubts : doubts + 1;
        doubted = mark;
        if (!isFirst && doubts < mostDoubts) return;
        doubts = 0;
        if (isToTell(error, mark)) notReloaded(error);
      }
    },

    async readNow() {
      const mark = await markOf(directory);
      known = null;
      await readAs(mark).catch((error: unknown) => {
        if (error instanceof DirectoryFault) isToTell(error, mark);
        throw error;
      });
    },
  };
}

/** Faults that can pass although nobody writes the directory: a disk answers again, a node is revoked, room is made. */
const passing: ReadonlySet<DeclaredFault> = new Set(['unreadable', 'too_large', 'policy', 'pins']);
/**
 * A checkout is written file by file: a fault counts where the next look finds the same. Attack: who writes something at every
 * look has nobody told.
 */
const mostDoubts = 12;
/** To read all of it may take a second. */
const looksBetweenTries = 60;

/** A mark that changes when something was written there, or it cannot be looked at for another reason. */
function markOf(directory: string): Promise<string> {
  return snapshotOf(directory).then(({ mark }) => mark, String);
}
