/** Marks of a node in its cluster. Names are API: people script against them, and manifests/ protects them. */
export const trustedLabel = 'assay.node-restriction.kubernetes.io/trusted';
export const trustedCondition = 'assay.dev/Trusted';

/** Taints, all `:NoSchedule`; a server may be set to others, since autoscalers have prefixes of their own. */
export interface TaintKeys {
  /** From registration until the first proof. */
  readonly pending: string;
  /** A known node that has not proven its current boot. */
  readonly reproving: string;
  /** Its value is a reason code. */
  readonly untrusted: string;
}
export const defaultTaintKeys: TaintKeys = {
  pending: 'assay.dev/pending',
  reproving: 'assay.dev/reproving',
  untrusted: 'assay.dev/untrusted',
};

/** Our custom resources, and the virtual ones on which rights of people are granted. */
export const resourceGroup = 'assay.dev';
export const resourceVersion = 'v1alpha1';
export const attestationResource = { plural: 'nodeattestations', kind: 'NodeAttestation' } as const;
export const latchResource = { plural: 'assaylatches', kind: 'AssayLatch', name: 'cluster' } as const;

/** The audience of tokens that agents and people show to the server. */
export const tokenAudience = 'assay';

/** Prefixes of marks that are ours, whichever version put them there. */
export const markPrefixes = { own: 'assay.dev/', label: 'assay.node-restriction.kubernetes.io/' } as const;

/** The ConfigMap in the server's namespace that holds the latest checkpoint of the audit log. */
export const checkpointConfig = 'assay-audit-checkpoint';
