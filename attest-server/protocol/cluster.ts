/** Why the watch of the Nodes began again; `gone`: the API forgot what it told, so that all is listed. */
export const watchRestartReasons = ['ended', 'gone', 'silent', 'unreachable', 'forbidden', 'failed'] as const;
export type WatchRestartReason = (typeof watchRestartReasons)[number];

/** Why the cluster is not known, or not all may be done there. */
export const clusterFaults = ['unreachable', 'forbidden', 'failed'] as const;
export type ClusterFault = (typeof clusterFaults)[number];
