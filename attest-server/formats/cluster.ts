/** Why the watch of the Nodes began again; `gone`: the API no longer has the earlier version, so all are listed. */
export const watchRestartReasons = ['ended', 'gone', 'silent', 'unreachable', 'forbidden', 'failed'] as const;
export type WatchRestartReason = (typeof watchRestartReasons)[number];

/** Why the cluster is not known, or not all may be done there. */
export const clusterFaults = ['unreachable', 'forbidden', 'failed'] as const;
export type ClusterFault = (typeof clusterFaults)[number];

/**
 * Why nothing is concluded from Nodes that the cluster does not have: it has none at all, not even the one that the server
 * runs on, or most agents that are connected are of Nodes that it denies.
 */
export const presenceDoubts = ['empty', 'own_node', 'contradicted'] as const;
export type PresenceDoubt = (typeof presenceDoubts)[number];
