import { LRUCache } from 'lru-cache';
import type { DigestList } from '../formats/digest-list.ts';
import { parseFilesInSteps, type RuntimeFiles } from '../formats/reference.ts';

/** A list of a million files takes 64 MB: all groups, policies and trials share it. */
const lists = new LRUCache<string, DigestList>({
  maxSize: 512 * 1024 * 1024,
  sizeCalculation: (list, packed) => packed.length + list.toBytes().length + 8 * list.size + 1,
});

/** The files that a reference lists, prepared once, in steps of some milliseconds. @throws Rejection as `parseFiles` does */
export function* knownListInSteps(runtime: Pick<RuntimeFiles, 'files'>): Generator<void, DigestList> {
  const known = lists.get(runtime.files);
  if (known !== undefined) return known;
  const list = yield* parseFilesInSteps(runtime);
  lists.set(runtime.files, list);
  return list;
}
