import type { DigestList } from '../formats/digest-list.ts';
import type { ListedFile } from '../formats/packed-list.ts';

/** The differences between two lists of files, by path and by package. */
export interface FilesDifference {
  readonly added: number;
  readonly removed: number;
  /** Paths that both have, with other digests. */
  readonly changed: number;
  /** Packages with the most changes first, at most as many as asked for. */
  readonly packages: readonly PackageChange[];
  readonly morePackages: number;
  /** In order of paths, at most as many as asked for. */
  readonly files: readonly FileChange[];
  readonly moreFiles: number;
}

export interface PackageChange {
  /** Null: of files of which no package is known. */
  readonly name: string | null;
  /** Versions of changed files, in each list. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
}

export interface FileChange {
  readonly path: string;
  /** Digests in hex; none if the path is new, or gone. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Name and version; the earlier ones if the file is gone. */
  readonly package: string | null;
}

export function diffFiles(
  before: DigestList,
  after: DigestList,
  most: { readonly packages: number; readonly files: number },
): FilesDifference {
  const counts = { added: 0, removed: 0, changed: 0 };
  const packages = new Map<string | null, ChangeTally>();
  const files: FileChange[] = [];
  for (const [old, now] of pairs(pathsOf(before), pathsOf(after))) {
    const digests = [old, now].map((one) => one?.digests.map((digest) => digest.toString('hex')) ?? []);
    const [from = [], to = []] = digests;
    if (from.join() === to.join()) continue;
    const what = old === null ? 'added' : now === null ? 'removed' : 'changed';
    counts[what] += 1;
    tallyOf(packages, now ?? old)[what] += 1;
    if (old !== null) tallyOf(packages, now ?? old).before.add(versionOf(old.package));
    if (now !== null) tallyOf(packages, now).after.add(versionOf(now.package));
    if (files.length < most.files)
      files.push({
        path: (now ?? old)?.path ?? '',
        before: from,
        after: to,
        package: (now ?? old)?.package ?? null,
      });
  }
  const named = [...packages].map(([name, tally]) => ({
    ...tally,
    name,
    before: [...tally.before].filter((version) => version !== '').sort(),
    after: [...tally.after].filter((version) => version !== '').sort(),
  }));
  named.sort((a, b) => total(b) - total(a) || ((a.name ?? '') < (b.name ?? '') ? -1 : 1));
  return {
    ...counts,
    packages: named.slice(0, most.packages),
    morePackages: Math.max(0, named.length - most.packages),
    files,
    moreFiles: total(counts) - files.length,
  };
}

interface ChangeTally {
  readonly before: Set<string>;
  readonly after: Set<string>;
  added: number;
  removed: number;
  changed: number;
}

/** A path with all digests that a file there may have. */
interface ListedPath {
  readonly path: string;
  readonly bytes: Buffer;
  readonly digests: readonly Buffer[];
  readonly package: string | null;
}

function* pathsOf(list: DigestList): Generator<ListedPath> {
  let open: ListedFile[] = [];
  for (const file of list.files()) {
    if (open[0] !== undefined && open[0].path !== file.path) {
      yield joined(open);
      open = [];
    }
    open.push(file);
  }
  if (open.length > 0) yield joined(open);
}

function joined(files: readonly ListedFile[]): ListedPath {
  const path = files[0]?.path ?? '';
  return {
    path,
    bytes: Buffer.from(path),
    digests: files.map(({ digest }) => digest),
    package: files.findLast((file) => file.package !== null)?.package ?? null,
  };
}

/** Both in order of the bytes of their paths: each path once, null if one side has none. */
function* pairs(
  before: Generator<ListedPath>,
  after: Generator<ListedPath>,
): Generator<readonly [ListedPath | null, ListedPath | null]> {
  let old = next(before);
  let now = next(after);
  while (old !== null || now !== null) {
    const order = old === null ? 1 : now === null ? -1 : Buffer.compare(old.bytes, now.bytes);
    yield [order <= 0 ? old : null, order >= 0 ? now : null];
    if (order <= 0) old = next(before);
    if (order >= 0) now = next(after);
  }
}

function next(paths: Generator<ListedPath>): ListedPath | null {
  const { done, value } = paths.next();
  return done === true ? null : value;
}

/** By the package's name, so that an update is one line. */
function tallyOf(packages: Map<string | null, ChangeTally>, file: ListedPath | null): ChangeTally {
  const name = file?.package?.split(' ')[0] ?? null;
  const known = packages.get(name);
  if (known !== undefined) return known;
  const made = { before: new Set<string>(), after: new Set<string>(), added: 0, removed: 0, changed: 0 };
  packages.set(name, made);
  return made;
}

function versionOf(name: string | null): string {
  return name?.split(' ').slice(1).join(' ') ?? '';
}

function total({ added, removed, changed }: Pick<FilesDifference, 'added' | 'removed' | 'changed'>): number {
  return added + removed + changed;
}
