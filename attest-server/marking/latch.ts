import type { ClusterLatch, Latch } from './ports.ts';

/** The latch is on where either place has it, for the groups of both: an empty store or a removed resource ends nothing. */
export function unite(store: Latch | null, cluster: ClusterLatch | null): Latch | null {
  if (store === null || cluster === null) return store ?? (cluster && ofCluster(cluster));
  if (isAsWide(store.groups, cluster.groups)) return store;
  const groups = cluster.groups.length === 0 ? [] : [...new Set([...store.groups, ...cluster.groups])].sort();
  return { ...store, groups };
}

/** Whether one place lacks nothing of what holds. No group: all of them. */
export function isAsWide(held: readonly string[], wanted: readonly string[]): boolean {
  if (held.length === 0) return true;
  return wanted.length > 0 && wanted.every((group) => held.includes(group));
}

/** As the custom resource says it. */
export function forCluster({ groups, by, at }: Latch): ClusterLatch {
  return { groups, by, enabledAt: new Date(at).toISOString() };
}

function ofCluster({ groups, by, enabledAt }: ClusterLatch): Latch {
  const at = Date.parse(enabledAt);
  return { groups, by, at: Number.isFinite(at) ? at : 0 };
}

/** Why a latched cluster is not unmarked; null if it may be. */
export function refusedUnmarking(
  latch: Latch | null,
  given: { readonly clusterUid: string | null; readonly reason: string | null },
  clusterUid: string,
): string | null {
  if (latch === null) return null;
  const which = latch.groups.length === 0 ? 'all groups' : latch.groups.join(', ');
  const on = `trust is enabled for good in this cluster (${which}, by ${latch.by})`;
  if (given.clusterUid === null || given.reason === null)
    return `${on}: say which cluster you mean, by its uid, and why`;
  return given.clusterUid === clusterUid
    ? null
    : `${on}, and its uid is another one: this is another cluster`;
}
