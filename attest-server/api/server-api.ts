import { z } from 'zod';
import { webhookView } from '../formats/webhook.ts';
import { type NodeState, reasonCodeSchema } from '../wire/verdict.ts';
import { tokenRoles } from './api.ts';
import { clusterView } from './cluster-api.ts';

/** The server itself (`/v1/version`, `/v1/status`) and who asks (`/v1/whoami`). */
export const versionView = z.object({ version: z.string() });

export const whoamiView = z.object({
  /** As the audit log names it: `token:alice`. */
  name: z.string(),
  role: z.enum(tokenRoles),
  /** Null: until it is revoked. */
  expiresAt: z.iso.datetime().nullable(),
});
export type WhoamiView = z.infer<typeof whoamiView>;

const count = z.int().min(0);

export const statusView = z.object({
  version: z.string(),
  startedAt: z.iso.datetime(),
  /** The server is on trial: the TPMs of its nodes may be programs, and no verdict counts. Absent from older servers. */
  trial: z.boolean().default(false),
  /** As `/readyz` says it; a reason may stand there though it is ready. */
  ready: z.object({ ok: z.boolean(), reason: z.string().nullable() }),
  /** Bytes on the file system of the state folder; null if it does not say. */
  stateDir: z.object({ free: z.int().nullable(), total: z.int().nullable() }),
  store: z.object({
    schema: z.int(),
    /** The size of the database with what is not yet merged into it. */
    bytes: z.int(),
  }),
  /** Copies that the server makes by itself; null if it makes none. Absent from older servers. */
  backups: z
    .object({
      directory: z.string(),
      everySeconds: count,
      /** Kept at most. */
      keep: count,
      count,
      /** Of the latest copy; null if there is none. */
      latestAt: z.iso.datetime().nullable(),
      /** The next one was due half an hour ago. */
      overdue: z.boolean(),
      /** Why the latest try failed; null if it did not. */
      fault: z.string().nullable(),
    })
    .nullable()
    .optional(),
  policy: z.object({
    name: z.string(),
    revision: z.string(),
    /** Since when this process judges by it. */
    since: z.iso.datetime(),
    /** A person went back to it, until file or directory hold another text than `insteadOf`. */
    rollback: z
      .object({
        by: z.string(),
        reason: z.string(),
        at: z.iso.datetime(),
        /** Revision of the one that is given. */
        insteadOf: z.string(),
        /** Where that is to be put right. */
        source: z.string(),
      })
      .nullable()
      .default(null),
    /** Another policy is being compared with it, and comes into force then; older servers compared afterwards. */
    comparing: z.object({ policy: z.string(), judged: count }).nullable().default(null),
  }),
  /** Null if the settings name no signed directory; absent from older servers. */
  declared: z
    .object({
      directory: z.string(),
      /** Null if no directory was ever in force; then, or if it is `faulty`, the earlier rules stay in force. */
      inForce: z
        .object({ serial: count, key: z.string(), digest: z.string(), since: z.iso.datetime() })
        .nullable(),
    })
    .nullable()
    .default(null),
  certificates: z.array(z.object({ of: z.enum(['server', 'authority']), expiresAt: z.iso.datetime() })),
  connections: z.array(
    z.object({
      port: z.enum(['agents', 'api', 'metrics']),
      /** Agents that proved themselves; null on the other ports, where nobody is counted who did. */
      proven: count.nullable(),
      unproven: count,
    }),
  ),
  nodes: z.object({
    pending: count,
    trusted: count,
    untrusted: count,
    unknown: count,
    unsupported: count,
  }) satisfies z.ZodType<Readonly<Record<NodeState, number>>>,
  /** TPMs for which nobody has vouched. */
  waiting: count,
  /** Machines that say they have no TPM, where policy expects one; absent from older servers. */
  withoutTpm: count.default(0),
  /** Parts of the configuration that had faults when they were last read again: their old form is in force. */
  faulty: z
    .array(
      z.object({
        part: z.string(),
        at: z.iso.datetime(),
        text: z.string(),
        /** A command, or several, a line each. */
        next: z.string(),
        /** The nodes that a refused policy would turn untrusted: how many of how many trusted ones. */
        refused: z
          .object({ policy: z.string(), digest: z.string(), trusted: count, untrusted: count })
          .nullable()
          .default(null),
      }),
    )
    .default([]),
  /** Null if it marks no nodes; absent from older servers. */
  cluster: clusterView.nullable().default(null),
  /** Null if there is no webhook; absent from older servers. */
  webhook: webhookView.nullable().default(null),
  /** Faults that stay until a person decides. */
  held: z.array(
    z.object({
      /** Null: the server itself. */
      node: z.string().nullable(),
      code: reasonCodeSchema,
      text: z.string(),
      /** The command with which a person decides. */
      next: z.string(),
    }),
  ),
});
export type StatusView = z.infer<typeof statusView>;
