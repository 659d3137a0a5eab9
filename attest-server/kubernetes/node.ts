import { z } from 'zod';
import { markPrefixes, trustedCondition } from '../formats/marks.ts';
import type { ClusterNode, NodeCondition } from '../marking/ports.ts';
import { nodeName } from '../wire/messages.ts';

/** UTF-16 units of one. */
const longestText = 4096;
const text = z.string().max(longestText);
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

/** Attack: a kubelet writes a member of its Node so long that nobody reads it, so that it is no longer marked. */
const clipped = z
  .string()
  .nullish()
  .transform((value) => (value ?? '').slice(0, longestText));
const clippedOrNone = z
  .string()
  .transform((value) => value.slice(0, longestText))
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
      conditions: z.array(z.unknown()).nullish(),
      nodeInfo: z.object({ systemUUID: clipped }).nullish(),
    })
    .nullish(),
});

/**
 * Keeps the few members of a Node that are used: its images alone are ten times as much.
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
    conditions: conditionsOf(status?.conditions ?? []),
    providerId: spec?.providerID || null,
    systemUuid: status?.nodeInfo?.systemUUID || null,
    createdAt: Date.parse(about.creationTimestamp),
  };
}

/** So many are read as what they are. A Node has some ten. */
const mostConditions = 128;
/** One of the others: its place alone counts. */
const anyOther: NodeCondition = { type: '', status: '' };

/** Attack: a kubelet writes thousands. Ours is found among them, with its position. */
function conditionsOf(all: readonly unknown[]): readonly NodeCondition[] {
  let isFound = false;
  return all.map((value, index) => {
    const type = typeOf(value);
    const isOurs = type.startsWith(markPrefixes.own);
    if (index >= mostConditions && !isOurs) return anyOther;
    if (index >= mostConditions && (isFound || type !== trustedCondition)) return { type, status: '' };
    isFound ||= type === trustedCondition;
    return shortened(condition.parse(value));
  });
}

function typeOf(value: unknown): string {
  if (typeof value !== 'object' || value === null || !('type' in value)) return '';
  return typeof value.type === 'string' ? value.type.slice(0, longestText) : '';
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
