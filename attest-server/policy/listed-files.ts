import type { DigestList } from '../formats/digest-list.ts';
import type { Reference } from '../formats/reference.ts';
import { Rejection } from '../wire/rejection.ts';
import { knownListInSteps } from './known-lists.ts';

/** The files of a reference of kind `runtime`, ready for looking up. */
export interface ListedFiles {
  readonly reference: Reference;
  readonly name: string;
  readonly files: DigestList;
  /** Milliseconds since the epoch; infinity if it does not expire. */
  readonly expires: number;
}

/** In steps of some milliseconds; null for one that lists none, or that cannot be read. */
export function* listedFiles(reference: Reference): Generator<void, ListedFiles | null> {
  const { name, runtime, expires } = reference;
  if (runtime === undefined) return null;
  try {
    return {
      reference,
      name,
      files: yield* knownListInSteps(runtime),
      expires: expires === null ? Number.POSITIVE_INFINITY : Date.parse(expires),
    };
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}

/** The one that knows a file longest comes first: as long as that is in force, the file is known. */
export function longestFirst(a: ListedFiles, b: ListedFiles): number {
  if (a.expires !== b.expires) return a.expires > b.expires ? -1 : 1;
  // A long list knows most of what runs.
  return b.files.size - a.files.size;
}
