import { z } from 'zod';
import { auditKeyCopy } from '../formats/audit-key-copy.ts';
import { nodeName } from '../wire/messages.ts';
import { modeSchema, nodeStateSchema } from '../wire/verdict.ts';
import { endingMembers, isOneEnding, notOneEnding } from './ending.ts';
import { exemptionView } from './node-api.ts';

/** Decisions of people about the marks of nodes in a cluster (`/v1/cluster`), as the API takes and answers them. */
const moment = z.iso.datetime();

/** One line of text, for the audit log. */
const reason = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u, 'must be one line of text');
const groupName = z.string().min(1).max(253);
const groups = z.array(groupName).max(256).default([]);

export const pauseView = z.object({ by: z.string(), reason: z.string(), at: moment });
export type PauseView = z.infer<typeof pauseView>;

export const latchView = z.object({
  /** Groups of the policy; none: all of them, also those that come later. */
  groups: z.array(z.string()),
  by: z.string(),
  at: moment,
  /** Whether the cluster has it as its resource, too; null: not known. */
  inCluster: z.boolean().nullable(),
  /** Where the policy in force asks for less than the latch wants. */
  faults: z.array(z.string()),
});
export type LatchView = z.infer<typeof latchView>;

/** Nodes of one group that fail with the same code and value, by drift alone or by a change of ours. */
export const holdView = z.object({
  group: z.string(),
  code: z.string(),
  /** The strongest digest of what differs; null if no one thing does. */
  value: z.string().nullable(),
  /** How many fail so, how many of them are tainted for it, and how many wait. */
  nodes: z.int(),
  tainted: z.int(),
  waiting: z.int(),
  /** They turned by a change of ours, which the value names, and not by what they show. Absent from older servers. */
  ours: z.boolean().default(false),
  /** `open`: nobody decided yet; null: nothing holds them as a whole. */
  decision: z.enum(['open', 'held', 'released']).nullable(),
  /** Since when they wait for a person; by whom and why it was decided. */
  at: moment.nullable(),
  by: z.string().nullable(),
  reason: z.string().nullable(),
});
export type HoldView = z.infer<typeof holdView>;

export const clusterView = z.object({
  /** The UID of its namespace kube-system; null if the API did not say it yet. */
  uid: z.string().nullable(),
  /** Whether all Nodes are known by now, and how many. */
  synced: z.boolean(),
  nodes: z.int(),
  /** Faults of the cluster's API at present: it gives no answer, or a right is missing. */
  faults: z.array(z.string()).default([]),
  /** Who marks; null if no server does. */
  lease: z.object({ holder: z.string(), ours: z.boolean() }).nullable(),
  groups: z.array(
    z.object({
      name: z.string(),
      mode: modeSchema,
      /** The latch covers it. */
      latched: z.boolean(),
      nodes: z.int(),
    }),
  ),
  pause: pauseView.nullable(),
  latch: latchView.nullable(),
  failing: z.array(holdView),
  exemptions: z.array(exemptionView),
});
export type ClusterView = z.infer<typeof clusterView>;

export const pauseRequest = z.strictObject({ reason });
export const resumeAnswer = z.object({ wasPaused: z.boolean() });

export const holdRequest = z.strictObject({
  /** None: all that waits. */
  groups,
  code: z.string().min(1).max(64).nullable().default(null),
  reason,
});
export const holdAnswer = z.object({ items: z.array(holdView) });

/** Rights of the server in its cluster, as the API of the cluster answers (SelfSubjectAccessReview). */
export const clusterRights = z.object({
  /** Who the server is there. */
  user: z.string(),
  items: z.array(
    z.object({
      verb: z.string(),
      /** Empty: Kubernetes' own. */
      group: z.string(),
      /** Plural, with the subresource: `nodes/status`. */
      resource: z.string(),
      /** Null: in all of them. */
      namespace: z.string().nullable(),
      /** Null: whatever its name. */
      name: z.string().nullable(),
      /** Work of the server that waits where it is missing. */
      waits: z.string(),
      allowed: z.boolean(),
    }),
  ),
});
export type ClusterRightsView = z.infer<typeof clusterRights>;

/** The longest that a node may be exempt: 30 days. */
export const longestExemption = 30 * 86_400;
export const exemptRequest = z
  .strictObject({
    node: nodeName,
    reason,
    ...endingMembers(longestExemption),
  })
  .refine(isOneEnding, notOneEnding);
export const exemptionEnded = z.object({ ended: z.string() });

const workload = z.object({ namespace: z.string(), name: z.string() });
/** A trial of the latch: the groups, nodes and workloads that it would touch. */
export const trustTrial = z.object({
  groups: z.array(z.string()),
  /** Why it cannot be enabled. */
  faults: z.array(z.string()),
  nodes: z.array(z.object({ name: z.string(), group: z.string(), state: nodeStateSchema })),
  /** DaemonSets that do not tolerate our taints. */
  daemonSets: z.array(workload),
  pendingPods: z.array(workload),
  /** The key of which a copy is to be shown; a server of 0.2.0 wants none. */
  auditKey: z.object({ origin: z.string(), keyId: z.string() }).optional(),
});
export type TrustTrialView = z.infer<typeof trustTrial>;
export const trustQuery = z.strictObject({
  /** Names of groups, separated by commas; none: all. */
  groups: z.string().max(4096).default(''),
});
export const trustRequest = z.strictObject({
  groups,
  /** The server refuses where it is missing. */
  auditKeyCopy: auditKeyCopy.optional(),
});

export const unmarkRequest = z.strictObject({
  /** Both are needed under the latch. */
  clusterUid: z.string().min(1).max(64).nullable().default(null),
  reason: reason.nullable().default(null),
});
export const unmarkTrial = z.object({
  latched: z.boolean(),
  nodes: z.array(
    z.object({
      node: z.string(),
      labels: z.array(z.string()),
      taints: z.array(z.string()),
      conditions: z.array(z.string()),
    }),
  ),
});
export type UnmarkTrialView = z.infer<typeof unmarkTrial>;
export const unmarkAnswer = z.object({ nodes: z.array(z.string()), attestations: z.int() });
