import { hash } from 'node:crypto';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import { type Reference, type RuntimeFiles, reference } from '../../../attest-server/formats/reference.ts';

/** A reference of kind `runtime` with files that hold their own paths; `/path=text` holds the text. */
export function filesReference(
  name: string,
  files: readonly string[],
  given: Partial<Reference> & { readonly more?: Partial<RuntimeFiles> } = {},
): Reference {
  const { more, ...rest } = given;
  const list = DigestList.of(
    files.map((file) => {
      const [path = '', content = path] = file.split('=');
      return { path, digest: hash('sha256', content, 'buffer'), package: null };
    }),
  );
  return reference.parse(runtimeReference(list, { name, ...rest, runtime: more }));
}

/** What a reference of files has besides, or has otherwise. */
export interface RuntimeChange extends Omit<Partial<Reference>, 'runtime'> {
  readonly runtime?: Partial<RuntimeFiles> | undefined;
}

/** An active reference of kind `runtime` with this list. */
export function runtimeReference(list: DigestList, change: RuntimeChange = {}): Reference {
  const { runtime, ...others } = change;
  return {
    version: 1,
    kind: 'runtime',
    name: 'files',
    group: 'workers',
    state: 'active',
    expires: null,
    pcrs: {},
    components: [],
    events: [],
    ...others,
    runtime: { files: list.toBytes().toString('base64'), count: list.fileCount, ...runtime },
  };
}
