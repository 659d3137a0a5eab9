import type { Reference } from '../../formats/reference.ts';
import type { EnrolledVolume, EnrolledVolumes } from './crypt-findings.ts';
import type { DiskRules } from './rules.ts';

/** The references that a group's disks are compared with. */
export interface EnrolledReferences {
  /** In force until they expire. */
  readonly active: readonly PreparedEnrolment[];
  /** UUIDs of volumes that were revoked, and by which reference: they count for whoever shows them. */
  readonly revoked: ReadonlyMap<string, string>;
}

interface PreparedEnrolment {
  /** Whether every volume of that node must be among these. */
  readonly isWhole: boolean;
  /** The node that it was captured on; null if it names none: it counts for who has the volume. */
  readonly node: string | null;
  /** Milliseconds since the epoch; infinity if it does not expire. */
  readonly expires: number;
  readonly volumes: readonly EnrolledVolume[];
}

export function enrolledReferences(
  group: string,
  { references: named }: Pick<DiskRules, 'references'>,
  references: readonly Reference[],
): EnrolledReferences {
  const applies = ({ name, group: its }: Reference) => named?.includes(name) ?? its === group;
  return {
    active: references
      .filter((reference) => reference.state === 'active' && applies(reference))
      .map(({ name, captured, expires, disk }) => ({
        isWhole: disk?.volumes.some(({ path }) => path === undefined) ?? false,
        node: captured?.node ?? null,
        expires: expires === null ? Number.POSITIVE_INFINITY : Date.parse(expires),
        volumes: (disk?.volumes ?? []).map((volume) => ({ ...volume, reference: name })),
      })),
    revoked: new Map(
      references
        .filter(({ state }) => state === 'revoked')
        .flatMap(({ name, disk }) => (disk?.volumes ?? []).map(({ uuid }) => [uuid, name] as const)),
    ),
  };
}

/** The volumes enrolled for one node at a moment. */
export function enrolledOf(
  node: string,
  { active, revoked }: EnrolledReferences,
  { references }: Pick<DiskRules, 'references'>,
  at: number,
): EnrolledVolumes {
  const its = active.filter((one) => at < one.expires && (one.node === null || one.node === node));
  return {
    isDemanded: references !== null || its.some((one) => one.isWhole && one.node === node),
    volumes: its.flatMap(({ volumes }) => volumes),
    revoked,
  };
}
