import { DigestList, type ListedFile } from '../protocol/digest-list.ts';
import { parseFiles, type Reference } from '../protocol/reference.ts';
import { CaptureError } from './capture-error.ts';

/**
 * The same reference of kind `runtime` with these files alone, each a path, or a digest in hex digits.
 * @throws CaptureError where it has none of that name
 */
export function withFiles(reference: Reference, only: readonly string[], node: string): Reference {
  const { runtime } = reference;
  if (runtime === undefined) throw new Error(`${reference.name} lists no files`);
  const list = parseFiles(runtime);
  const chosen = DigestList.of(
    only.flatMap((which) => {
      const found = [...filesNamed(list, which)];
      if (found.length === 0)
        throw new CaptureError(
          `${node} measured no file ${which}: name a path or a whole digest as its list has it`,
        );
      return found;
    }),
  );
  const files = chosen.toBytes().toString('base64');
  return { ...reference, runtime: { files, count: chosen.fileCount } };
}

/** @param which may name the algorithm first, as the kernel writes a digest: `sha256:…` */
function* filesNamed(list: DigestList, which: string): Generator<ListedFile> {
  const hex = /^(?:[a-z0-9_-]+:)?((?:[0-9a-fA-F]{2})+)$/.exec(which)?.[1];
  const byDigest = hex === undefined ? -1 : list.find(Buffer.from(hex, 'hex'));
  if (byDigest >= 0)
    for (const path of list.pathsAt(byDigest))
      yield { digest: list.digestAt(byDigest), path, package: list.packageAt(byDigest) };
  for (const index of list.digestsOf(which))
    yield { digest: list.digestAt(index), path: which, package: list.packageAt(index) };
}
