import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readDeb } from '../../attest-server/cli/offline/runtime/deb.ts';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import type { ListedFile } from '../../attest-server/formats/packed-list.ts';

/** What the packages in a folder list, as `assay reference runtime --from-dpkg` does. */
export async function listOfPackages(folder: string): Promise<DigestList> {
  const files: ListedFile[] = [];
  for (const name of await readdir(folder))
    if (name.endsWith('.deb')) for await (const file of readDeb(join(folder, name))) files.push(file);
  return DigestList.of(files);
}
