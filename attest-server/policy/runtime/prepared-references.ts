import type { ImaArea } from '../../formats/ima-policy.ts';
import type { Reference, RuntimeFiles } from '../../formats/reference.ts';
import { type ListedFiles, listedFiles, longestFirst } from '../listed-files.ts';
import type { RuntimeRules } from './rules.ts';

/** A reference of kind `runtime`, ready for looking up. */
export interface KnownFiles extends ListedFiles {
  /** Measurements of the kernel besides files, by name: digests in hex. */
  readonly measured: ReadonlyMap<string, ReadonlySet<string>>;
  /** IMA policies by the digest of their file, in hex. */
  readonly policies: ReadonlyMap<string, readonly ImaArea[]>;
}

export interface PreparedReferences {
  /** The one that knows a file longest comes first: as long as that is in force, the file is known. */
  readonly host: readonly KnownFiles[];
  readonly containers: readonly KnownFiles[];
  readonly revoked: readonly KnownFiles[];
  /** Retired and staged: they know why a file is not known any more, or not yet. */
  readonly idle: readonly KnownFiles[];
}

/**
 * The references that a group's rules name, or all of the group; of revoked ones, both. One that cannot be read is left out.
 * In steps of some milliseconds.
 */
export function* prepareReferences(
  group: string,
  rules: Pick<RuntimeRules, 'references' | 'containers'>,
  references: readonly Reference[],
): Generator<void, PreparedReferences> {
  const forContainers = rules.containers?.references ?? [];
  const isHosts = ({ name, group: its }: Reference) =>
    rules.references?.includes(name) ?? (its === group && !forContainers.includes(name));
  const isContainers = ({ name }: Reference) => forContainers.includes(name);
  const isOurs = (one: Reference) => isHosts(one) || isContainers(one);
  function* inState(state: Reference['state'], isMeant: (one: Reference) => boolean) {
    const known: KnownFiles[] = [];
    for (const one of references)
      if (one.state === state && isMeant(one)) known.push(...(yield* knownFiles(one)));
    return known;
  }
  return {
    host: (yield* inState('active', isHosts)).sort(longestFirst),
    containers: (yield* inState('active', isContainers)).sort(longestFirst),
    revoked: yield* inState('revoked', (one) => isOurs(one) || one.group === group),
    idle: [...(yield* inState('retired', isOurs)), ...(yield* inState('staged', isOurs))],
  };
}

function* knownFiles(reference: Reference): Generator<void, readonly KnownFiles[]> {
  const { runtime } = reference;
  const listed = yield* listedFiles(reference);
  if (runtime === undefined || listed === null) return [];
  return [
    {
      ...listed,
      measured: measuredOf(runtime),
      policies: new Map((runtime.policies ?? []).map(({ digest, covers }) => [digest, covers])),
    },
  ];
}

function measuredOf({ keyrings = [] }: RuntimeFiles): ReadonlyMap<string, ReadonlySet<string>> {
  const byName = Map.groupBy(keyrings, ({ keyring }) => keyring);
  return new Map([...byName].map(([name, its]) => [name, new Set(its.map(({ digest }) => digest))]));
}
