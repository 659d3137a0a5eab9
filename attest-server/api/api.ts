/** The requests and answers of the HTTP API, for the server and the CLI alike. */

import { z } from 'zod';
import { flapsSchema } from '../formats/flaps.ts';
import {
  announcement,
  declaredBy,
  longestAnnouncement,
  mostCaptured,
  plainName,
  referenceKinds,
  referenceStates,
  referenceStep,
} from '../formats/reference.ts';
import { nodeName } from '../wire/messages.ts';
import { aspectSchema, modeSchema, nodeStateSchema, reasonCodeSchema } from '../wire/verdict.ts';
import { endingMembers, isOneEnding, notOneEnding } from './ending.ts';
import { shownReason } from './node-api.ts';

/** The shapes that the API takes and answers. Server and command line read the same ones. */
const moment = z.iso.datetime().nullable();

export const historyView = z.object({
  node: z.string(),
  at: z.iso.datetime(),
  state: nodeStateSchema,
  reason: reasonCodeSchema.nullable(),
  reasons: z.array(shownReason),
  policy: z.string(),
  /** The server was on trial. */
  trial: z.boolean().default(false),
  /** True if the state differs from the entry before. */
  transition: z.boolean(),
  /** How many verdicts equal to this one came since the entry before, beside this one. */
  repeats: z.int(),
  since: z.iso.datetime(),
  /** Verdicts that changed since the previous entry, and share this one; null: none. Absent from older servers. */
  flaps: flapsSchema.nullable().default(null),
  /** SHA-256 of the stored bundle, hex. */
  evidence: z.string().nullable(),
});
export type HistoryView = z.infer<typeof historyView>;

/** A reference in a list: what it is, without the values and events that `/v1/references/{name}` gives. */
export const referenceView = z.object({
  /** Absent from older servers, whose references are all of boots. */
  kind: z.enum(referenceKinds).default('boot'),
  name: z.string(),
  group: z.string(),
  state: z.enum(referenceStates),
  expires: moment,
  captured: z.object({ by: z.string(), node: z.string(), at: z.iso.datetime() }).nullable(),
  /** The latest step of its life: who approved, retired, revoked or restored it, when and why. */
  changed: referenceStep.nullable().default(null),
  /** Somebody expects nodes to boot like it, although nobody has approved it. */
  announced: announcement.optional(),
  /** A signed directory says what it is: it is changed there. */
  declared: declaredBy.optional(),
  /** Files that the loader read and nobody has seen: for them it counts for the node that it was captured on alone. */
  unseen: z.array(z.string()).optional(),
  /** PCRs of which it has the value as a whole: the boot that was captured does not log all that its firmware measured. */
  byValue: z.array(z.int()).optional(),
  /** It demands boot_aggregate of each boot with its kernel and command line. */
  aggregate: z.literal('required').optional(),
  /** For kind `runtime`: how many files it lists, and how many policies of IMA and keys. */
  files: z.int().optional(),
  policies: z.int().optional(),
  keys: z.int().optional(),
});
export type ReferenceView = z.infer<typeof referenceView>;

/** A change that a person expects: a group (`nodes` left out), or these nodes, are to boot like a staged reference. */
export const announceRequest = z
  .strictObject({
    nodes: announcement.shape.nodes.unwrap().optional(),
    reason: z.string().min(1).max(512),
    ...endingMembers(longestAnnouncement),
  })
  .refine(isOneEnding, notOneEnding);

/** Why a person approves, retires, revokes or restores a reference. */
export const referenceChange = z.strictObject({ reason: z.string().min(1).max(512) });
export const referenceRevocation = referenceChange.extend({
  /** Nodes that rest on it are tainted at once; else their taints wait for a person. */
  taint: z.boolean().default(false),
});
export const referenceDeleted = z.object({ deleted: z.string() });
/** An active reference that affirms what another one names. */
export const sharedReference = z.object({
  name: z.string(),
  /** It names all of that: of boots, those like it are revoked, too; of other kinds, it says the same. */
  whole: z.boolean(),
  /** Where it has a kernel, initrd or loader of it: these stay good as long as it is active. */
  stages: z.array(z.string()),
  /** For kind `runtime`: how many files of it this one lists, too; these stay good as long as it is active. */
  files: z.int().optional(),
});
export type SharedReferenceView = z.infer<typeof sharedReference>;
/** `sharedWith`: active references that affirm what was revoked. */
export const referenceChanged = referenceView.extend({ sharedWith: z.array(sharedReference).default([]) });

/** The policy of one group, its defaults filled in. */
const policyGroupView = z.looseObject({
  name: z.string(),
  nodes: z.array(z.string()),
  labels: z.record(z.string(), z.string()),
  mode: modeSchema,
  tpm: z.enum(['required', 'absent']),
  require: z.array(aspectSchema),
  enrolment: z.array(z.string()).optional(),
});
export const policyView = z.object({
  name: z.string(),
  revision: z.string(),
  text: z.string(),
  groups: z.array(policyGroupView),
});

/** How many files one capture may be about, where it is not about all. */
const mostFiles = 256;
export const captureRequest = z
  .strictObject({
    /** One node, or several as `nodes`. */
    node: nodeName.optional(),
    nodes: z.array(nodeName).min(1).max(mostCaptured).optional(),
    name: plainName,
    /** The kind of reference that is made of what the node shows. */
    kind: z.enum(referenceKinds).default('boot'),
    /** Whose boots are compared with it; default: the nodes' own group. A policy that is not in force yet may have it. */
    group: plainName.optional(),
    staged: z.boolean().default(false),
    /** For kind `runtime`: these files alone, each a path or a digest in hex digits. */
    only: z.array(z.string().min(1).max(4096)).min(1).max(mostFiles).optional(),
    /** For kind `runtime`: the content of the initrds that the nodes booted, and not what they ran since. */
    initrd: z.boolean().optional(),
    /** For kind `boot`: false demands boot_aggregate of nobody, although one of the nodes gave it. */
    aggregate: z.boolean().optional(),
    /** Why; needed where more than `no_reference` stands against a node, and it is not staged. */
    reason: z.string().min(1).max(512).optional(),
    /** The `digest` of what a simulation showed: refused where it would be something else by now. */
    shown: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'not a SHA-256 digest')
      .optional(),
  })
  .refine(({ kind, aggregate }) => aggregate === undefined || kind === 'boot', {
    path: ['aggregate'],
    message: 'boot_aggregate is of kind boot',
  })
  .refine(({ kind, initrd }) => initrd !== true || kind === 'runtime', {
    path: ['initrd'],
    message: 'what is in an initrd is of kind runtime',
  })
  .refine(({ kind, only }) => only === undefined || kind === 'runtime', {
    path: ['only'],
    message: 'only files of kind runtime are chosen',
  })
  .refine(({ node, nodes }) => (node === undefined) !== (nodes === undefined), {
    path: ['nodes'],
    message: 'name either a node or nodes',
  });
export type CaptureRequestBody = z.infer<typeof captureRequest>;
/** The reference of that name; `others` are those that it took for nodes which it does not cover: NAME-2 and so on. */
export const captureAnswer = referenceView.extend({ others: z.array(referenceView) });
export type CaptureAnswer = z.infer<typeof captureAnswer>;
export const pinsRequest = z.strictObject({
  pins: z
    .array(z.strictObject({ node: nodeName, ek: z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 digest') }))
    .min(1)
    .max(10_000)
    .refine(
      (pins) => eachOnce(pins.map(({ node }) => node)) && eachOnce(pins.map(({ ek }) => ek)),
      'a node or an endorsement key stands twice: keep one line of each',
    ),
});
export const pinsAnswer = z.object({ imported: z.int() });

/** A join token lives at most 24 hours. */
export const maxJoinTokenSeconds = 86_400;
export const joinTokenRequest = z.strictObject({
  node: nodeName,
  ttlSeconds: z.int().min(1).max(maxJoinTokenSeconds),
});
export const joinTokenAnswer = z.object({
  node: z.string(),
  token: z.string(),
  expiresAt: z.iso.datetime(),
  /** A TPM is enrolled under that name already, so that the token lets no other one in. */
  nameEnrolled: z.boolean().optional(),
});

/** A join token as it is listed: what it is for, never its secret. */
export const joinTokenView = z.object({
  /** The part of its text after `v1.`, by which it is revoked. */
  id: z.string(),
  node: z.string(),
  /** Who made it; null if that is not known any more. */
  by: z.string().nullable(),
  expiresAt: z.iso.datetime(),
  usedAt: moment,
});
export type JoinTokenView = z.infer<typeof joinTokenView>;
export const joinTokenId = z.string().regex(/^[\w-]{12}$/);
export const joinTokenRevoked = z.object({ revoked: z.string() });

/** A node was asked for evidence now; where it is not connected nothing was asked. */
export const attestAnswer = z.object({
  node: z.string(),
  connected: z.boolean(),
  /** The time of its latest verdict before it was asked. */
  verifiedAt: moment,
});

/** A TPM that waits for somebody to vouch for it; all of it but `nameEnrolled` and `approved` is the TPM's own claim. */
export const candidateView = z.object({
  node: z.string(),
  /** SHA-256 of the endorsement key's TPMT_PUBLIC, hex. */
  ek: z.string(),
  certificateSubject: z.string().nullable(),
  manufacturer: z.string().nullable(),
  address: z.string(),
  firstSeen: z.iso.datetime(),
  lastSeen: z.iso.datetime(),
  attempts: z.int(),
  /** Another TPM is enrolled under this name. */
  nameEnrolled: z.boolean(),
  /** It enrols when it comes again. */
  approved: z.boolean(),
});
export type CandidateView = z.infer<typeof candidateView>;

export const approveRequest = z.strictObject({
  ek: z.string().regex(/^[0-9a-f]{64}$/, 'not a whole SHA-256 digest: 64 hex digits'),
});
export const approveAnswer = z.object({ node: z.string(), ek: z.string(), waiting: z.boolean() });
/** Without `bindings` all; else these alone, as they were shown: one that is another by now is left as it is. */
export const approveAllRequest = z.strictObject({
  bindings: z
    .array(z.strictObject({ node: nodeName, ek: z.string().regex(/^[0-9a-f]{64}$/) }))
    .max(1000)
    .optional(),
});
export const approveAllAnswer = z.object({ approved: z.array(z.string()) });
export const revokeRequest = z.strictObject({
  reason: z
    .string()
    .min(1)
    .max(256)
    .regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u, 'must be one line of text'),
  /** Erases all evidence of TPMs that had this name, also where it is free already. Needs the role admin. */
  eraseEvidence: z.boolean().optional(),
});
/** `ek`: of the latest TPM of that name. `freedBytes`: of the disk, where evidence was erased. */
export const revokeAnswer = z.object({
  node: z.string(),
  ek: z.string(),
  freedBytes: z.number().optional(),
});

export const tokenRoles = ['reader', 'operator', 'admin'] as const;
/** A name of at most 64 characters, as the audit log shows it after `token:`. */
export const tokenName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$/, 'not a name: lower-case letters, digits and . _ @ -');
/** Ten years. */
export const maxTokenSeconds = 315_360_000;
export const tokenRequest = z.strictObject({
  name: tokenName,
  role: z.enum(tokenRoles),
  /** Null: until it is revoked. */
  ttlSeconds: z.int().min(1).max(maxTokenSeconds).nullable().default(null),
});
export const tokenView = z.object({
  name: z.string(),
  role: z.enum(tokenRoles),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  expiresAt: moment,
});
export type TokenView = z.infer<typeof tokenView>;
/** The only time that the token's text is shown. */
export const tokenAnswer = z.object({
  name: z.string(),
  role: z.enum(tokenRoles),
  token: z.string(),
  expiresAt: moment,
});
export const tokenRevoked = z.object({ revoked: z.string() });

function eachOnce(words: readonly string[]): boolean {
  return new Set(words).size === words.length;
}
