import { Rejection } from './rejection.ts';

/**
 * One mount as a process sees it (proc_pid_mountinfo(5)). Names are bytes, one character a byte (`latin1`): a path
 * need not be UTF-8.
 */
export interface Mount {
  readonly id: number;
  /** The mount that this one lies on; of the topmost one it is not in the table. */
  readonly parent: number;
  /** `major:minor` of what stat(2) says of its files. */
  readonly device: string;
  /** The part of the file system that is mounted: `/`, or the directory of a bind mount. */
  readonly root: string;
  /** As the process sees it. */
  readonly mountPoint: string;
  /** Comma-separated, as written. */
  readonly options: string;
  readonly optional: readonly string[];
  /** `ext4`, or `fuse.sshfs`. */
  readonly type: string;
  /** Whatever the one who mounted said: for many file systems a free text. Never a fact. */
  readonly source: string;
  /** As written: commas and equals signs inside a value are still escaped. */
  readonly superOptions: string;
}

const most = { bytes: 16 * 1024 * 1024, mounts: 100_000, line: 256 * 1024 };

/**
 * The bytes of `/proc/<pid>/mountinfo`. Fields are told apart by the spaces that the kernel puts between them, and only
 * then is `\ooo` decoded: a name that holds spaces or line breaks stays inside its field.
 * @throws Rejection `malformed` with the line, the field and its offset; `too_large`
 */
export function parseMountTable(bytes: Buffer): readonly Mount[] {
  if (bytes.length > most.bytes)
    throw new Rejection('too_large', `a mount table of ${bytes.length} bytes`, { field: 'mountinfo' });
  const mounts: Mount[] = [];
  const ids = new Set<number>();
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(0x0a, start);
    const place = { line: mounts.length + 1, offset: start };
    if (end < 0) throw malformed(place, 'line', 'is cut short');
    if (end - start > most.line || mounts.length === most.mounts)
      throw new Rejection('too_large', `mountinfo, line ${place.line}: there is no end of it`, place);
    const mount = parseLine(bytes.toString('latin1', start, end), place);
    if (ids.has(mount.id)) throw malformed(place, 'mount id', 'is that of another mount');
    ids.add(mount.id);
    mounts.push(mount);
    start = end + 1;
  }
  return mounts;
}

/**
 * The mount that a path lies on, as the kernel walks: component by component, at each one down to what was mounted on
 * top there. What is below a later mount is not found, and a mount over `/` is not entered: who looks stands below it.
 * @param path absolute and without links (realpath); it need not exist
 * @returns null if the table has no root
 * @throws RangeError for a path that is not of that form
 */
export function mountOf(table: readonly Mount[], path: string): Mount | null {
  return mountFinder(table)(asBytes(path));
}

/** A path as it stands in the table: one character a byte. */
export function asBytes(path: string): string {
  return Buffer.from(path).toString('latin1');
}

/** The mount that a path of the table stands on; null if none is. */
export type FindMount = (path: string) => Mount | null;

/** True for a path that `mountFinder` takes: absolute, without `.`, `..` and empty components. */
export function isPlainPath(path: string): boolean {
  return /^\/$|^(\/(?!\.{1,2}(\/|$))[^/\0]+)+$/.test(path);
}

/** `mountOf` for many paths of one table; paths are one character a byte here, as those in the table are. */
export function mountFinder(table: readonly Mount[]): FindMount {
  const known = new Set(table.map(({ id }) => id));
  const places = stepsTo(table);
  const root = table.find(
    ({ id, parent, mountPoint }) => mountPoint === '/' && (id === parent || !known.has(parent)),
  );
  return (path) => {
    if (!isPlainPath(path))
      throw new RangeError(`${JSON.stringify(path)} is not an absolute path without links`);
    if (root === undefined) return null;
    let at = root;
    let place: PathComponent | undefined = places;
    for (const component of path.split('/').slice(1)) {
      place = place.below?.get(component);
      // Nothing is mounted any deeper.
      if (place === undefined) return at;
      // Each step goes to a mount that was not seen yet, or a table that bites its tail would hold us for ever.
      for (
        let left = place.on?.size ?? 0, next = place.on?.get(at.id);
        next !== undefined && left > 0;
        left -= 1
      ) {
        at = next;
        next = place.on?.get(at.id);
      }
    }
    return at;
  };
}

/** A component of mount points. Attack: names of thousands of components, which must not be put together at each of them. */
interface PathComponent {
  /** Made once something is in them: there are many steps. */
  below: Map<string, PathComponent> | null;
  /** By the mount that they lie on. */
  on: Map<number, Mount> | null;
}

/** The steps from `/` to all mount points. */
function stepsTo(table: readonly Mount[]): PathComponent {
  const top: PathComponent = { below: null, on: null };
  for (const mount of table) {
    if (mount.id === mount.parent) continue;
    let place = top;
    for (const component of mount.mountPoint.split('/').slice(1)) {
      place.below ??= new Map();
      const next = place.below.get(component) ?? { below: null, on: null };
      place.below.set(component, next);
      place = next;
    }
    place.on ??= new Map();
    place.on.set(mount.parent, mount);
  }
  return top;
}

interface LinePosition {
  /** Counts from 1. */
  readonly line: number;
  readonly offset: number;
}

/** id parent major:minor root mount-point options [optional …] - type source super-options */
function parseLine(line: string, place: LinePosition): Mount {
  if (/[\0\t]/.test(line)) throw malformed(place, 'line', 'holds what the kernel escapes');
  const fields = line.split(' ');
  let at = 0;
  let offset = place.offset;
  const take = (field: string, shape: RegExp): string => {
    const text = fields[at];
    if (text === undefined) throw malformed({ ...place, offset }, field, 'is missing');
    if (!shape.test(text)) throw malformed({ ...place, offset }, field, 'has not its form');
    at += 1;
    offset += text.length + 1;
    return text;
  };
  const [id, parent] = [Number(take('mount id', number)), Number(take('parent id', number))];
  const device = take('major:minor', /^\d{1,10}:\d{1,10}$/);
  const root = decode(take('root', name));
  const mountPoint = decode(take('mount point', /^\/(?:[^\\]|\\[0-3][0-7]{2})*$/));
  const options = take('mount options', name);
  const optional: string[] = [];
  while (fields[at] !== '-') optional.push(take('optional field', name));
  take('separator', /^-$/);
  const type = decode(take('file system type', name));
  // A source may be the empty text.
  const source = decode(take('mount source', /^(?:[^\\]|\\[0-3][0-7]{2})*$/));
  const superOptions = take('super options', name);
  if (at < fields.length) throw malformed({ ...place, offset }, 'super options', 'go on after a space');
  return { id, parent, device, root, mountPoint, options, optional, type, source, superOptions };
}

const number = /^\d{1,10}$/;
const name = /^(?:[^\\]|\\[0-3][0-7]{2})+$/;

function decode(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function malformed({ line, offset }: LinePosition, field: string, text: string): Rejection {
  return new Rejection('malformed', `mountinfo, line ${line}: the ${field} ${text}`, { field, offset });
}
