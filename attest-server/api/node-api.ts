import { z } from 'zod';
import { enrolmentMethods } from '../formats/enrolment-method.ts';
import { suppressions, wrongResources } from '../formats/marking.ts';
import { ourChanges } from '../formats/our-change.ts';
import { connectionEnds, kubeletStatuses } from '../formats/silence.ts';
import { tpmClasses } from '../formats/tpm-class.ts';
import {
  aspectResultsSchema,
  aspectSchema,
  modeSchema,
  nodeStateSchema,
  reasonCodeSchema,
  reasonSchema,
} from '../wire/verdict.ts';

/** A node as the API shows it. The commands that people type most read it, so it imports as little as it can. */
const moment = z.iso.datetime().nullable();

/** A reason as a verdict has it. Older servers leave out the members that were added. */
export const shownReason = reasonSchema.extend({
  evidence: z
    .object({
      digest: z.string(),
      position: z.string(),
      /** SHA-256 of the evidence that has this part, as `bundle` and `boot diff` take it; null if it is not known. */
      bundle: z.string().nullable().optional(),
    })
    .nullable(),
  /** The next step for a person: a line is one step or alternative; one that begins with two blanks is a finished command. */
  next: z.string().optional(),
});
export type ReasonView = z.infer<typeof shownReason>;

/** A reference that the latest verdict found the node to boot like. */
const affirmedBy = z.object({
  name: z.string(),
  /** Who captured, imported or approved it last, and when. */
  by: z.string(),
  since: z.iso.datetime(),
});

/** Who came under the name of this node and was not let in: another TPM, or one that is refused before it is enrolled. */
const claim = z.object({
  /** SHA-256 of its endorsement key; null if none was said. */
  ek: z.string().nullable(),
  /** The code by which it was refused, and what the server says of it; null if only the number was kept. */
  code: reasonCodeSchema,
  text: z.string().nullable().default(null),
  attempts: z.int(),
  firstSeen: z.iso.datetime(),
  lastSeen: z.iso.datetime(),
  address: z.string(),
});

const shownTransition = z.object({
  at: z.iso.datetime(),
  state: nodeStateSchema,
  reason: reasonCodeSchema.nullable(),
});
export type ShownTransition = z.infer<typeof shownTransition>;
export type ClaimView = z.infer<typeof claim>;

export const exemptionView = z.object({
  node: z.string(),
  reason: z.string(),
  by: z.string(),
  at: z.iso.datetime(),
  until: z.iso.datetime(),
});
export type ExemptionView = z.infer<typeof exemptionView>;

const carried = z.object({
  /** Keys of ours, `KEY` or `KEY=VALUE`. */
  taints: z.array(z.string()),
  /** Whether the label says `true`. */
  label: z.boolean(),
  /** The status of the condition `assay.dev/Trusted`; null: there is none. */
  condition: z.string().nullable().default(null),
});
export const marksView = z.object({
  there: carried,
  wanted: carried,
  /** Why its Node lacks a mark that its verdict asks for, or keeps one that it does not; null: as the verdict says. */
  suppressed: z.enum(suppressions).nullable(),
  /** When somebody last changed them; null: nobody since the server started. */
  tamperedAt: moment,
  /** The content of its NodeAttestation instead of this, and why; null: it is as it should be. */
  resource: z
    .object({
      shows: z.enum(wrongResources),
      /** Null while it waits for its turn. */
      fault: z.string().nullable(),
    })
    .nullable()
    .default(null),
});
export type MarksView = z.infer<typeof marksView>;

/** A volume whose key the latest boot of a node asked for, and did not get. */
const refusedKey = z.object({
  /** LUKS UUID, as the node asked for it. */
  volume: z.string(),
  /** As the node calls it; null: it has no such volume. */
  name: z.string().nullable(),
  code: reasonCodeSchema,
  /** One sentence. */
  text: z.string(),
  /** Since when this is the answer. */
  at: z.iso.datetime(),
  /** The next step for a person, as a reason has it. */
  next: z.string(),
});
export type RefusedKeyView = z.infer<typeof refusedKey>;

/** Whether the next boot of a node would be affirmed, by the node's word on what lies on its disk; no state or mark rests on it. */
export const nextBoot = z.object({
  answer: z.enum(['would', 'would_not', 'unknown']),
  /** The key of a disk is kept for it: a boot that is not affirmed gets none. */
  hasLease: z.boolean(),
  /** Why not, or what is missing. */
  causes: z.array(
    z.object({
      /** One sentence. */
      text: z.string(),
      /** Since when the file lies there, as the node says. */
      since: moment,
      /** The next step for a person, as a reason has it. */
      next: z.string(),
    }),
  ),
});
export type NextBootView = z.infer<typeof nextBoot>;

export const nodeView = z.object({
  name: z.string(),
  state: nodeStateSchema,
  /** The first reason's code; of a trusted node none that others cause under its name. */
  reason: reasonCodeSchema.nullable(),
  reasons: z.array(shownReason),
  aspects: aspectResultsSchema,
  /** When the current boot began, by the node's word as far as its TPM allows it; null if it says nothing. */
  bootedAt: moment,
  verifiedAt: moment,
  expiresAt: moment,
  group: z.string().nullable(),
  /** Manufacturer and firmware version. */
  tpm: z.string().nullable(),
  kernel: z.string().nullable(),
  policy: z.string().nullable(),
  require: z.array(aspectSchema),
  mode: modeSchema.nullable(),
  /** Null for a machine without a TPM, which cannot enrol. */
  bound: z.enum(enrolmentMethods).nullable(),
  tpmClass: z.enum(tpmClasses),
  // An older server says nothing of what follows.
  /** When it was last found trusted; null: never. */
  trustedAt: moment.default(null),
  /** When the current boot was first proven: it began before. */
  bootSeenAt: moment.default(null),
  /** SHA-256 of the kept evidence that its verdict rests on, hex: what `/bundle?evidence=` takes. */
  evidence: z.string().nullable().default(null),
  /** Since when it is in this state. */
  since: moment.default(null),
  enrolledAt: moment.default(null),
  /** Who vouched for its TPM, as the audit log names them; null if the record does not say. */
  enrolledBy: z.string().nullable().default(null),
  /** SHA-256 of its endorsement key's TPMT_PUBLIC, hex. */
  ek: z.string().nullable().default(null),
  /** SHA-256 of the root that vouches for its TPM, hex; null if none of the server's does. */
  endorsedBy: z.string().nullable().default(null),
  /** The address of its connection, or of the last one that was proven. */
  address: z.string().nullable().default(null),
  /** Since when it is connected; null while it is not. */
  connectedAt: moment.default(null),
  /** When anything last came on its connection, or on the last one that was proven since the server started. */
  heardAt: moment.default(null),
  /** How that one ended; null while it is connected, and where there was none since the server started. */
  disconnected: z
    .object({
      at: z.iso.datetime(),
      /** Who closed it; `reset`: it broke off; `timeout`: a ping was not answered. */
      by: z.enum(connectionEnds),
      /** Of the close frame (RFC 6455, 7.4). */
      status: z.int().nullable(),
      /** The last words of its agent (`tpm_broker`, `tpm`, `stopped`, `protocol`, `failed`), which prove nothing; or why the server closed it. */
      reason: z.string().nullable(),
    })
    .nullable()
    .default(null),
  /** Status of the condition Ready of its Node, by the word of kubelet and cluster; null: its cluster has none, or there is no cluster. */
  kubeletReady: z.enum(kubeletStatuses).nullable().default(null),
  /** Version of its agent, as it says. */
  agent: z.string().nullable().default(null),
  /** The server is on trial, or the node enrolled while it was: its TPM may be a program, and nothing may rest on it. */
  trial: z.boolean().default(false),
  references: z.array(affirmedBy).default([]),
  claims: z.array(claim).default([]),
  /** It is silent, and another TPM has claimed its name since its last proof. Anybody can do that. */
  claimed: z.boolean().default(false),
  /** Until when a person lets it work although it is not trusted; null: nobody does. */
  exemption: exemptionView.nullable().default(null),
  /** The change of ours that turned its verdict, if the node did nothing; else null. */
  ourChange: z.enum(ourChanges).nullable().default(null),
  /** The same in words, and what a person does then; in the answer about one node only. */
  turned: z.object({ text: z.string(), next: z.string() }).nullable().default(null),
  /** The marks of its Node; null if the cluster has none of its name, nobody looked at it yet, or there is no cluster. */
  marks: marksView.nullable().default(null),
  /** Since when the cluster has no Node of it while it is silent; null: it has, or the node is of no cluster. */
  missingSince: moment.default(null),
  /** Since when it is gone: in no list but that of all, and counted nowhere, unless something is held against it. */
  goneSince: moment.default(null),
  /** Its latest changes of state, the newest first; in the answer about one node only. */
  transitions: z.array(shownTransition).default([]),
  /** Keys of disks that its latest boot did not get; in the answer about one node only. No reason: its state goes by what it proved. */
  refusedKeys: z.array(refusedKey).default([]),
  /** Null: its policy does not require the boot, and it has no disk with a key here. */
  nextBoot: nextBoot.nullable().default(null),
});
export type NodeView = z.infer<typeof nodeView>;

/** A node as a line of a list: what tables show, sort by, and count. */
export const nodeLine = nodeView.pick({
  name: true,
  state: true,
  reason: true,
  aspects: true,
  require: true,
  trial: true,
  goneSince: true,
  since: true,
  bootedAt: true,
  bootSeenAt: true,
  verifiedAt: true,
  enrolledAt: true,
  group: true,
  tpm: true,
  tpmClass: true,
  kernel: true,
  policy: true,
  mode: true,
  marks: true,
  exemption: true,
  ourChange: true,
});
export type NodeLine = z.infer<typeof nodeLine>;

/** From so many nodes on that fail the same way, a person looks at them together. */
export const manyAlike = 3;
