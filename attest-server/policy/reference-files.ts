import { DigestList } from '../formats/digest-list.ts';
import type { ListedFile } from '../formats/packed-list.ts';
import { type KnownKey, parseFilesInSteps, type Reference } from '../formats/reference.ts';
import { CaptureError } from './capture-error.ts';

/**
 * The same reference of kind `runtime` with these files alone, each a path, or a digest in hex digits; in steps of some
 * milliseconds.
 * @param lacks what is said before a name that it has not @throws CaptureError if it has none of that name
 */
export function* withFilesInSteps(
  reference: Reference,
  only: readonly string[],
  lacks: string,
): Generator<void, Reference> {
  const { runtime } = reference;
  if (runtime === undefined) throw new Error(`${reference.name} lists no files`);
  const list = yield* parseFilesInSteps(runtime);
  const kept: KnownKey[] = [];
  const chosen = DigestList.of(
    only.flatMap((which) => {
      const files = [...filesNamed(list, which)];
      const keys = (runtime.keyrings ?? []).filter(({ digest }) => digest === hexOf(which));
      if (files.length + keys.length === 0)
        throw new CaptureError(
          `${lacks} ${which}: name a path from its first slash on, or a whole digest, as its list has it`,
        );
      kept.push(...keys);
      return files;
    }),
  );
  const files = chosen.toBytes().toString('base64');
  return {
    ...reference,
    runtime: { files, count: chosen.fileCount, ...(kept.length > 0 && { keyrings: kept }) },
  };
}

function* filesNamed(list: DigestList, which: string): Generator<ListedFile> {
  const hex = hexOf(which);
  const byDigest = hex === null ? -1 : list.find(Buffer.from(hex, 'hex'));
  if (byDigest >= 0) yield* list.filesOf(byDigest);
  yield* list.filesAt(which);
}

/** It may name the algorithm first, as the kernel writes a digest: `sha256:…`; null for what is a path. */
function hexOf(which: string): string | null {
  return /^(?:[a-z0-9_-]+:)?((?:[0-9a-f]{2})+)$/i.exec(which)?.[1]?.toLowerCase() ?? null;
}
