import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** The state of the file by which an operator lets a node go on. */
export type OverrideState =
  | { readonly is: 'shut' }
  /** @property reason what the operator wrote, printable; empty if that is nothing */
  | { readonly is: 'open'; readonly reason: string }
  /** A file is there that does not count, and why. */
  | { readonly is: 'ignored'; readonly why: string };

/** The bytes of the file that are read: the rest of a longer one is left out. */
const most = 1024;

/**
 * Looks for the file of an operator. It counts where only root, or the user of this program, could have written it.
 * It lies in memory: the next boot is without it.
 */
export async function readWayIn(path: string): Promise<OverrideState> {
  let file: FileHandle;
  try {
    // A link, or a pipe on which the reader would wait, is none.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return { is: 'shut' };
    return unreadable(error);
  }
  try {
    const { uid, mode } = await file.stat();
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) return ignored(path, 'is no file');
    if (uid !== 0 && uid !== process.getuid?.()) return ignored(path, 'is not owned by root');
    if ((mode & 0o022) !== 0) return ignored(path, 'can be written by others than its owner: chmod 600');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(most), 0, most, 0);
    return { is: 'open', reason: printable(buffer.subarray(0, bytesRead).toString('utf8')) };
  } catch (error) {
    return unreadable(error);
  } finally {
    await file.close();
  }
}

function unreadable(error: unknown): OverrideState {
  return { is: 'ignored', why: error instanceof Error ? error.message : String(error) };
}

function ignored(path: string, what: string): OverrideState {
  return { is: 'ignored', why: `${path} ${what}` };
}

/** On one line, as the server takes it. */
function printable(text: string): string {
  return text
    .trim()
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 256);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
