import { z } from 'zod';
import { reasonClasses } from '../wire/reasons.ts';
import { nodeStateSchema } from '../wire/verdict.ts';
import type { AuditAction } from './audit.ts';

/** Events of which other programs are told. */
export const eventNames = [
  ...([
    'node.state',
    'node.flaps',
    'node.revoked',
    'node.gone',
    'node.back',
    'marks.tamper',
    'exempt',
    'exempt.end',
  ] as const),
  ...(['breaker.open', 'breaker.hold', 'breaker.release', 'breaker.close'] as const),
  ...(['cluster.pause', 'cluster.resume', 'cluster.unmark', 'trust.enable', 'trust.restore'] as const),
  ...(['audit.rollback', 'server.fault', 'webhook.test'] as const),
] as const;
export type EventName = (typeof eventNames)[number];

/** Events that an entry of the audit log makes: all but the one by which a person tries the webhook. */
export const loggedEvents = {
  'node.state': {
    action: 'verdict',
    isOfNode: true,
    says: 'the node has another state',
    next: 'assay why NODE',
  },
  'node.flaps': {
    action: 'flaps',
    isOfNode: true,
    says: 'the verdict of the node changes again and again',
    next: 'assay history NODE',
  },
  'node.revoked': {
    action: 'enrol.revoke',
    isOfNode: true,
    says: 'a person removed the node; its name is free',
    next: null,
  },
  'node.gone': {
    action: 'node.gone',
    isOfNode: true,
    says: 'the cluster no longer has its Node, and its TPM is silent',
    next: 'assay describe node NODE',
  },
  'node.back': {
    action: 'node.back',
    isOfNode: true,
    says: 'a node that was gone is there again',
    next: 'assay why NODE',
  },
  'marks.tamper': {
    action: 'marks.tamper',
    isOfNode: true,
    says: 'somebody changed the marks of the node; they are put back',
    next: 'assay why NODE',
  },
  exempt: {
    action: 'exempt',
    isOfNode: true,
    says: 'a person lets the node work although it is not trusted',
    next: 'assay why NODE',
  },
  'exempt.end': {
    action: 'exempt.end',
    isOfNode: true,
    says: 'the exemption of the node ended',
    next: 'assay why NODE',
  },
  'breaker.open': {
    action: 'breaker.open',
    isOfNode: false,
    says: 'many nodes of the group fail the same way, and their taints wait for a person',
    next: 'assay breaker list',
  },
  'breaker.hold': {
    action: 'breaker.hold',
    isOfNode: false,
    says: 'a person keeps the taints of the group away',
    next: 'assay breaker list',
  },
  'breaker.release': {
    action: 'breaker.release',
    isOfNode: false,
    says: 'the taints of the group come from now on',
    next: 'assay breaker list',
  },
  'breaker.close': {
    action: 'breaker.close',
    isOfNode: false,
    says: 'no node of the group fails this way any longer',
    next: null,
  },
  'cluster.pause': {
    action: 'cluster.pause',
    isOfNode: false,
    says: 'a person stopped the marking of nodes',
    next: 'assay resume',
  },
  'cluster.resume': {
    action: 'cluster.resume',
    isOfNode: false,
    says: 'nodes are marked again',
    next: null,
  },
  'cluster.unmark': {
    action: 'cluster.unmark',
    isOfNode: false,
    says: 'a person had all marks removed',
    next: 'assay status',
  },
  'trust.enable': {
    action: 'trust.enable',
    isOfNode: false,
    says: 'trust cannot be taken back any more',
    next: 'assay trust status',
  },
  'trust.restore': {
    action: 'trust.restore',
    isOfNode: false,
    says: 'the latch was missing, and was written again',
    next: 'assay trust status',
  },
  'audit.rollback': {
    action: 'audit_rollback',
    isOfNode: false,
    says: 'the audit log is not the one that was signed',
    next: 'assay audit verify',
  },
  'server.fault': {
    action: 'server.fault',
    isOfNode: false,
    says: 'the server could store no verdict for a time, and can again',
    next: 'assay status',
  },
} as const satisfies Readonly<Record<Exclude<EventName, 'webhook.test'>, LoggedEvent>>;

interface LoggedEvent {
  /** The action; of verdicts only those that change a state. */
  readonly action: AuditAction;
  /** Whether the entry's subject is a node. */
  readonly isOfNode: boolean;
  /** The sentence, where the entry has none of its own. */
  readonly says: string;
  /** The next command for a person. */
  readonly next: string | null;
}

/** The most of a message, in bytes; and of one text in it, in UTF-16 units. */
export const mostMessageBytes = 32 * 1024;
export const mostReasons = 20;

/** A message about an event; docs/events.md describes it. New members may come. */
export const eventMessage = z.object({
  id: z.string().describe('of the event: the same in each attempt, also as header `webhook-id`'),
  at: z.iso.datetime().describe('when it happened'),
  event: z.enum(eventNames).describe('what happened: one of the list below'),
  cluster: z
    .string()
    .nullable()
    .describe('uid of the namespace `kube-system`; null outside a cluster, and while it is not known yet'),
  node: z.string().nullable().describe('the node that it is about'),
  subject: z.string().describe('what it is about: a node, a group of the policy, `cluster`'),
  state: nodeStateSchema.nullable().describe('of `node.state` and `node.flaps`: the state of the node now'),
  from: nodeStateSchema.nullable().describe('of `node.state`: the state before; null for the first one'),
  reasons: z
    .array(z.object({ code: z.string(), class: z.enum(reasonClasses).nullable(), text: z.string() }))
    .max(mostReasons)
    .describe('reason codes with class and text, the weightiest first'),
  moreReasons: z.int().min(0).describe('how many reasons are left out'),
  text: z.string().describe('one sentence for a person'),
  by: z.string().describe('who did it: `server`, `token:alice`, `kubernetes:alice`'),
  detail: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))
    .describe('what else the audit log says of it'),
  next: z.string().nullable().describe('the command that shows more'),
});
export type EventMessage = z.infer<typeof eventMessage>;
