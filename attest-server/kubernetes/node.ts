import { z } from 'zod';
import type { ClusterNode, NodeCondition } from '../marking/ports.ts';
import { trustedCondition } from '../protocol/marks.ts';
import { nodeName } from '../protocol/messages.ts';

const text = z.string().max(4096);
const time = z.iso.datetime({ offset: true });

const taint = z.preprocess(
  withoutNull,
  z.object({
    key: text,
    value: text.exactOptional(),
    effect: text,
    timeAdded: text.exactOptional(),
  }),
);

/** Attack: a kubelet writes something of its Node so long that nobody reads it, and is marked no more. */
const clipped = z
  .string()
  .nullish()
  .transform((value) => (value ?? '').slice(0, 4096));
const clippedOrNone = z
  .string()
  .transform((value) => value.slice(0, 4096))
  .exactOptional();

const condition = z.preprocess(
  withoutNull,
  z.object({
    type: clipped,
    status: clipped,
    reason: clippedOrNone,
    message: clippedOrNone,
    lastTransitionTime: clippedOrNone,
    lastHeartbeatTime: clippedOrNone,
  }),
);

const metadata = z.object({
  name: nodeName,
  uid: text,
  resourceVersion: text,
  labels: z.record(z.string(), text).nullish(),
  creationTimestamp: time,
});

const node = z.object({
  metadata,
  spec: z.object({ taints: z.array(taint).nullish(), providerID: clipped }).nullish(),
  status: z
    .object({
      conditions: z.array(condition).nullish(),
      nodeInfo: z.object({ systemUUID: clipped }).nullish(),
    })
    .nullish(),
});

/**
 * What of a Node is held: its images alone are ten times as much.
 * @throws z.ZodError
 */
export function parseNode(object: unknown): ClusterNode {
  const { metadata: about, spec, status } = node.parse(object);
  return {
    name: about.name,
    uid: about.uid,
    resourceVersion: about.resourceVersion,
    labels: about.labels ?? {},
    taints: spec?.taints ?? [],
    conditions: (status?.conditions ?? []).map(shortened),
    providerId: spec?.providerID || null,
    systemUuid: status?.nodeInfo?.systemUUID || null,
    createdAt: Date.parse(about.creationTimestamp),
  };
}

/** Of others only the place counts, and their words are most of what a Node says. */
function shortened(condition: NodeCondition): NodeCondition {
  const { type, status } = condition;
  return type === trustedCondition ? condition : { type, status };
}

/** The API writes a time that nobody set as null. */
function withoutNull(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}
