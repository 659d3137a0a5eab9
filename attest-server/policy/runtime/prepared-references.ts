import type { DigestList } from '../../protocol/digest-list.ts';
import type { ImaArea } from '../../protocol/ima-policy.ts';
import type { Reference, RuntimeFiles } from '../../protocol/reference.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { knownListInSteps } from '../known-lists.ts';
import type { RuntimeRules } from './rules.ts';

/** A reference of kind `runtime`, ready for looking up. */
export interface KnownFiles {
  readonly reference: Reference;
  readonly name: string;
  readonly files: DigestList;
  /** What the kernel measured besides files, by its name: digests in hex. */
  readonly measured: ReadonlyMap<string, ReadonlySet<string>>;
  /** IMA policies by the digest of their file, in hex. */
  readonly policies: ReadonlyMap<string, readonly ImaArea[]>;
  /** Milliseconds since the epoch; infinity where it does not expire. */
  readonly expires: number;
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
 * Those that a group's rules name, or those of the group; of what is revoked, both. One that cannot be read is none. In steps of
 * some milliseconds.
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

function longestFirst(a: KnownFiles, b: KnownFiles): number {
  if (a.expires !== b.expires) return a.expires > b.expires ? -1 : 1;
  // A long list knows most of what runs.
  return b.files.size - a.files.size;
}

function* knownFiles(reference: Reference): Generator<void, readonly KnownFiles[]> {
  const { name, runtime, expires } = reference;
  if (runtime === undefined) return [];
  try {
    return [
      {
        reference,
        name,
        files: yield* knownListInSteps(runtime),
        measured: measuredOf(runtime),
        policies: new Map((runtime.policies ?? []).map(({ digest, covers }) => [digest, covers])),
        expires: expires === null ? Number.POSITIVE_INFINITY : Date.parse(expires),
      },
    ];
  } catch (error) {
    if (error instanceof Rejection) return [];
    throw error;
  }
}

function measuredOf({ keyrings = [] }: RuntimeFiles): ReadonlyMap<string, ReadonlySet<string>> {
  const byName = Map.groupBy(keyrings, ({ keyring }) => keyring);
  return new Map([...byName].map(([name, its]) => [name, new Set(its.map(({ digest }) => digest))]));
}
