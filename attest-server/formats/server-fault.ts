/**
 * Why a server cannot judge or store: a label of a metric, and what people are told. `internal`: a fault of its program,
 * which keeps nothing from being stored. None is a node's, and no verdict says it.
 */
export const storageCauses = ['disk_full', 'read_only', 'io_error', 'damaged', 'denied', 'locked'] as const;
export type StorageCause = (typeof storageCauses)[number];
export const faultCauses = [...storageCauses, 'internal'] as const;
export type FaultCause = (typeof faultCauses)[number];

/** Nothing can be stored at present. */
export class StorageFault extends Error {
  override readonly name = 'StorageFault';
  readonly storage: StorageCause;

  constructor(storage: StorageCause, cause?: unknown) {
    super(faultText(storage), { cause });
    this.storage = storage;
  }
}

/** Why this could not be stored; null if the error is no fault of the storage. */
export function storageCauseOf(error: unknown): StorageCause | null {
  // An error that tells of others: the deepest one knows why.
  for (let at = error, depth = 0; at instanceof Error && depth < 8; depth += 1) {
    if (at instanceof StorageFault) return at.storage;
    const result = numberOf(at, 'errcode');
    const found = bySqlite.get(result) ?? bySqlite.get(result & 0xff) ?? byErrno.get(textOf(at, 'code'));
    if (found !== undefined) return found;
    at = at instanceof AggregateError ? at.errors[0] : at.cause;
  }
  return null;
}

export function faultText(cause: FaultCause): string {
  return texts[cause];
}

/** The advice on it for a person at the server, with the path of its state folder. A line that begins with two blanks is a command. */
export function faultAdvice(cause: FaultCause, stateDir: string): string {
  return [...advice[cause], ...(staysSo.has(cause) ? [] : [goesOn])]
    .join('\n')
    .replaceAll('DIR', () => stateDir);
}

/** Primary result codes, and one extended one: no room for the index of the log (SQLite, "Result and Error Codes"). */
const bySqlite: ReadonlyMap<number, StorageCause> = new Map([
  [4874, 'disk_full'],
  [3, 'denied'],
  [5, 'locked'],
  [6, 'locked'],
  [8, 'read_only'],
  [10, 'io_error'],
  [11, 'damaged'],
  [13, 'disk_full'],
  [14, 'denied'],
  [26, 'damaged'],
]);

const byErrno: ReadonlyMap<string, StorageCause> = new Map([
  ['ENOSPC', 'disk_full'],
  ['EDQUOT', 'disk_full'],
  ['EROFS', 'read_only'],
  ['EIO', 'io_error'],
]);

const texts: Readonly<Record<FaultCause, string>> = {
  disk_full: 'the disk of the server is full',
  read_only: 'the disk of the server is read-only',
  io_error: 'the disk of the server gives errors',
  damaged: 'the database of the server is damaged',
  denied: 'the server may not open or write its database',
  locked: 'another program holds the database of the server',
  internal: 'the server failed while it judged',
};

/** Faults that do not end by themselves, or keep nothing from being stored. */
const staysSo: ReadonlySet<FaultCause> = new Set(['internal', 'damaged']);

const goesOn =
  'After that the server recovers by itself within seconds. Restart nothing, and change nothing on the nodes.';

const advice: Readonly<Record<FaultCause, readonly string[]>> = {
  disk_full: [
    'On the server, find out what fills the disk, and free some space:',
    '  df -h DIR',
    '  du -ah DIR | sort -h | tail',
    'You may delete copies in backups once you keep them elsewhere. Never delete assay.db or files whose names begin with it (docs/backup.md, "When the disk is full").',
  ],
  read_only: [
    'On the server, find out why the disk is read-only (a disk with errors becomes so), and mount it again for writing:',
    '  findmnt -T DIR',
    '  dmesg | tail -n 50',
  ],
  io_error: [
    'On the server, read what the kernel says about the disk. If the disk is broken, restore a backup to another one (docs/backup.md, "Restore"):',
    '  dmesg | tail -n 50',
  ],
  damaged: [
    'On the server, as its user: see what is damaged, which copy is whole, and how to put it in place:',
    '  assay-server check --store --state-dir DIR',
  ],
  denied: [
    'On the server, make the user who runs the server the owner of this folder and of everything in it:',
    '  ls -ld DIR DIR/assay.db',
  ],
  locked: ['On the server, find out which program it is, and stop it:', '  fuser -v DIR/assay.db'],
  internal: [
    'Nothing is wrong with the node. The log of the server says what failed (lines of level error): please report the fault with these lines.',
  ],
};

function numberOf(error: Error, field: string): number {
  const value = fieldOf(error, field);
  return typeof value === 'number' ? value : 0;
}

function textOf(error: Error, field: string): string {
  const value = fieldOf(error, field);
  return typeof value === 'string' ? value : '';
}

function fieldOf(error: Error, field: string): unknown {
  return Object.getOwnPropertyDescriptor(error, field)?.value;
}
