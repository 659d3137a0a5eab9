import { hash } from 'node:crypto';
import type { Reference } from '../../formats/reference.ts';
import type { DiskPart } from '../../wire/disk.ts';
import type { Finding } from '../finding.ts';
import { exposedVolume } from './findings.ts';
import { bare, claimOf } from './layers.ts';

/** Volume keys of volumes that were formatted for this server, by the UUID as a mapping has it. */
export type LeasedKeys = ReadonlyMap<string, LeasedKey>;

interface LeasedKey {
  readonly uuid: string;
  /** The protected path that it is for. */
  readonly path: string;
  /** Digests of its volume key, by each reference. */
  readonly digests: readonly Readonly<Record<string, string>>[];
}

/** By references in any state, so that nobody ends an exposure by retiring one. Where some are active, the key is theirs. */
export function leasedKeys(references: readonly Reference[]): LeasedKeys {
  const volumes = references.flatMap(({ state, disk }) =>
    (disk?.volumes ?? []).map((volume) => ({ ...volume, isActive: state === 'active' })),
  );
  const leased = new Map<string, LeasedKey>();
  for (const [uuid, known] of Map.groupBy(volumes, (volume) => volume.uuid)) {
    const path = known.find((one) => one.path !== undefined)?.path;
    if (path === undefined) continue;
    const active = known.filter(({ isActive }) => isActive);
    const digests = (active.length > 0 ? active : known).map((one) => one.digests);
    leased.set(bare(uuid), { uuid, path, digests });
  }
  return leased;
}

/** Marks of the keys of the leased volumes that are open: each is a UUID, and a part of a SHA-256 of what changes only with the key. */
export function openKeys({ devices }: DiskPart, leased: LeasedKeys): readonly string[] {
  const marks = devices.flatMap(({ mapping }) => {
    const uuid = mapping === null ? null : (claimOf(mapping.uuid)?.uuid ?? null);
    const digests = uuid === null ? [] : (leased.get(uuid)?.digests ?? []);
    return digests.map((one) => `${uuid}:${hash('sha256', JSON.stringify(one)).slice(0, 32)}`);
  });
  return [...new Set(marks)].sort();
}

/** A finding for each volume in use whose key is exposed. */
export function exposures(
  inUse: readonly string[],
  exposed: readonly string[],
  leased: LeasedKeys,
): readonly Finding[] {
  const uuids = new Set(
    exposed.filter((mark) => inUse.includes(mark)).map((mark) => mark.split(':')[0] ?? ''),
  );
  return [...uuids].flatMap((uuid) => leased.get(uuid) ?? []).map(exposedVolume);
}
