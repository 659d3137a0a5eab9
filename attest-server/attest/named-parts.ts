import type { Verifier } from '../verify/verifier.ts';
import { type Part, type PartName, type Parts, partNames } from '../wire/evidence.ts';
import type { OwnedNode } from './owned-node.ts';
import type { NodeStatus } from './ports.ts';

type PartDigests = NodeStatus['parts'];

/** The parts of an answer, with the bytes of those that it only names. */
export interface ReadParts {
  readonly parts: Parts;
  /** Its bytes are nowhere; null if all were found. */
  readonly lost: PartName | null;
}

/** Parts that an answer only names, since its node sent them before: they are read from what is kept. */
export class NamedParts {
  readonly #verifier: Pick<Verifier, 'missing'>;
  readonly #read: (digest: string, node: string) => Promise<Buffer | null>;

  constructor(
    verifier: Pick<Verifier, 'missing'>,
    read: (digest: string, node: string) => Promise<Buffer | null>,
  ) {
    this.#verifier = verifier;
    this.#read = read;
  }

  /** Of the parts that a node has shown, those that it need not send again. */
  held({ status, lostParts: lost }: OwnedNode): PartDigests {
    const all = status?.parts ?? none;
    if (all.ima === undefined && lost === null) return all;
    // The list continues from its present end: no digest says that.
    const { ima: _, ...parts } = all;
    if (lost === null) return parts;
    return Object.fromEntries(Object.entries(parts).filter(([, digest]) => !lost.has(digest)));
  }

  /** Those whose bytes the verifier needs, or nobody has seen of this node. */
  unread(arrived: Parts, held: PartDigests): readonly PartName[] {
    const unknown = this.#verifier.missing(arrived);
    return partNames.filter((name) => {
      const part = arrived[name];
      if (part === undefined || part.bytes !== null) return false;
      return held[name] !== part.digest || unknown.includes(name);
    });
  }

  /** @param unread of these, as `unread` gives it */
  async read(
    node: OwnedNode,
    arrived: Parts,
    unread: readonly PartName[],
    held: PartDigests,
  ): Promise<ReadParts> {
    let found: Partial<Record<PartName, Part>> | null = null;
    let lost: PartName | null = null;
    for (const name of unread) {
      const digest = arrived[name]?.digest;
      if (digest === undefined) continue;
      const bytes = await this.#read(digest, node.name);
      if (bytes === null) {
        lost = name;
        if (held[name] === digest) node.lostParts = (node.lostParts ?? new Set()).add(digest);
        continue;
      }
      found ??= {};
      found[name] = { digest, bytes };
    }
    return { parts: found === null ? arrived : { ...arrived, ...found }, lost };
  }
}

const none: PartDigests = {};
