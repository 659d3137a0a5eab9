import { z } from 'zod';
import { policyArrivals } from '../formats/policy-arrival.ts';
import { plainName, referenceStates } from '../formats/reference.ts';
import { tpmClasses } from '../formats/tpm-class.ts';
import { nodeName } from '../wire/messages.ts';
import { aspectSchema, modeSchema, nodeStateSchema, reasonSchema } from '../wire/verdict.ts';
import { captureRequest, referenceView, sharedReference } from './api.ts';
import { shownThing } from './candidates-api.ts';
import { listOf } from './list.ts';
import { nextBoot } from './node-api.ts';

/** Characters: a policy is written by people. */
const longestPolicy = 1 << 18;

/** Which nodes a simulation judges. */
export const simulatedPage = z.strictObject({
  /** The `next` of the page before. */
  after: nodeName.optional(),
  limit: z.int().min(1).max(500).default(200),
});

export const simulateRequest = simulatedPage.extend({
  /** The text of the policy that is tried; nothing of it is kept. */
  policy: z.string().max(longestPolicy),
  /** The name that its faults are reported with. */
  file: z.string().min(1).max(255).default('policy.yaml'),
});

const side = z.object({
  state: nodeStateSchema,
  group: z.string(),
  // An older server does not say it.
  mode: modeSchema.optional(),
  reasons: z.array(reasonSchema),
  /** Whether its next boot would be affirmed, by its own word; absent if the policy does not require the boot. */
  nextBoot: nextBoot.shape.answer.optional(),
});
const marks = z.object({ taints: z.array(z.string()), label: z.boolean() });
export type SimulatedMarksView = z.infer<typeof marks>;
export const simulatedNode = z.object({
  node: z.string(),
  /** By the rules in force, on the same evidence; null if no evidence can be judged. */
  before: side.nullable(),
  after: side.nullable(),
  changed: z.boolean(),
  /** Why there is nothing to compare. */
  note: z.string().nullable(),
  /** The marks that its Node would carry in the end, whatever the breaker delays; null if the cluster has no Node of that name. */
  marks: z.object({ before: marks.nullable(), after: marks }).nullable().default(null),
});
export type SimulatedNodeView = z.infer<typeof simulatedNode>;
export const simulateAnswer = listOf(simulatedNode).extend({
  /** Where the latch would refuse this policy. */
  latched: z.array(z.object({ line: z.int(), field: z.string(), text: z.string() })).default([]),
  /** Which share of the trusted nodes a policy may make untrusted before it is refused; 1, as from servers before it: all. */
  refusedShare: z.number().min(0).max(1).default(1),
});

/** A page of the effects of a step of a reference's life. Older servers give `items` and `next` alone. */
export const referenceTrial = z.object({
  reference: referenceView.optional(),
  /** The state that the step leads to. */
  to: z.enum(referenceStates).optional(),
  sharedWith: z.array(sharedReference).default([]),
  items: z.array(
    simulatedNode.extend({
      /** It is like the reference: it boots so, or shows what the reference says. */
      like: z.boolean().optional(),
    }),
  ),
  next: z.string().nullable(),
});
export type ReferenceTrialView = z.infer<typeof referenceTrial>;

export const captureTrialRequest = captureRequest.safeExtend(simulatedPage.shape);
/**
 * The reference that a capture would make, and a page of the nodes that it would turn trusted, and of those from which it
 * would demand a proof that they do not give.
 */
export const captureTrial = listOf(simulatedNode).extend({
  references: z.array(referenceView),
  /** Nodes against which more than `no_reference` stands, with that, and what they show that no reference in force has. */
  against: z
    .array(
      z.object({
        node: nodeName,
        state: nodeStateSchema,
        reasons: z.array(reasonSchema),
        new: z.array(shownThing),
      }),
    )
    .default([]),
  /** Over the references, the moment aside: what `shown` of the capture takes. */
  digest: z.string().default(''),
});
export type CaptureTrialView = z.infer<typeof captureTrial>;

const image = z.object({ describes: z.string(), digest: z.string() });
/** The machine and its boot, from which a draft of a policy is made. */
const observation = z.object({
  node: z.string(),
  tpmClass: z.enum(tpmClasses),
  manufacturer: z.string().nullable(),
  kernel: z.string().nullable(),
  boot: z
    .object({
      firmware: z.string().nullable(),
      secureBoot: z.boolean().nullable(),
      loaders: z.array(image),
      kernels: z.array(image),
      initrds: z.array(image).default([]),
      signers: z.array(z.object({ digest: z.string().regex(/^[0-9a-f]+$/), subject: z.string().nullable() })),
      sbatLevel: z.number().nullable(),
    })
    .nullable(),
  /** Why `boot` is null: what keeps the boot from becoming a reference. */
  noBoot: z.string().nullable().default(null),
  /** Active references that the boot is like. */
  references: z.array(plainName),
  /** Groups whose active references the boot is like, whether or not it is compared with them. */
  knownTo: z.array(z.string()).default([]),
  /** Its other aspects: in each one's own words, and the active references that affirm it. */
  posture: z
    .partialRecord(
      aspectSchema,
      z.object({ said: z.record(z.string(), z.unknown()), references: z.array(plainName) }),
    )
    .default({}),
});
export const observationsAnswer = z.object({
  items: z.array(observation),
  /** Nodes of the page of which there is no evidence. */
  unseen: z.array(nodeName),
  /** With the first page: machines that say they have no TPM, where the policy in force expects one. */
  withoutTpm: z.array(nodeName).default([]),
  next: z.string().nullable(),
});

/** A policy that is or was in force, without its text. */
export const policyRevisionView = z.object({
  /** `name@revision`, as verdicts name it. */
  policy: z.string(),
  /** SHA-256 of its text, hex; the first 12 digits are the revision. */
  digest: z.string(),
  /** Its name, or the path that it was read from. */
  source: z.string(),
  /** Characters. */
  length: z.int(),
  firstAt: z.iso.datetime(),
  /** Since when it was in force the last time. */
  lastAt: z.iso.datetime(),
  /** When that ended; null: it is in force. */
  endedAt: z.iso.datetime().nullable(),
  /** How it came the last time. */
  came: z.enum(policyArrivals),
  /** Who had it come, and why; null if a file alone did. */
  by: z.string().nullable(),
  reason: z.string().nullable(),
});
export type PolicyRevisionView = z.infer<typeof policyRevisionView>;
export const policyRevisionText = policyRevisionView.extend({ text: z.string() });
export type PolicyRevisionText = z.infer<typeof policyRevisionText>;

/** The first digits of a digest. */
export const policyDigits = z
  .string('not a revision')
  .regex(/^[0-9a-f]{4,64}$/, 'not a revision: 4 to 64 hex digits');
const why = z.string().min(1).max(512);
export const policyRollbackRequest = z.strictObject({ revision: policyDigits, reason: why });
export const policyRolledBack = z.object({
  /** `name@revision` of the one in force now, and of the one before. */
  policy: z.string(),
  before: z.string(),
  /** Where the text is to be put right: a path, or the name of a policy that comes with Assay. */
  source: z.string(),
  /** False: it is what file or directory give anyway. */
  untilChanged: z.boolean(),
});
export const policyAllowRequest = z.strictObject({
  revision: z
    .string('not a revision')
    .regex(/^[0-9a-f]{12,64}$/, 'not a revision: 12 to 64 hex digits of the SHA-256 of its text'),
  reason: why,
});
export const policyAllowed = z.object({
  digest: z.string(),
  /** It waited, and is in force from now on. Else it may come at the next reload. */
  inForce: z.boolean(),
  /** Other objections to it. */
  refused: z.string().nullable(),
});
