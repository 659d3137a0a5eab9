import { z } from 'zod';
import { plainName, referenceKinds, referenceStates } from '../formats/reference.ts';
import { reasonCodeSchema } from '../wire/verdict.ts';
import { listOf } from './list.ts';

/** Which candidates are asked for. */
export const candidatesQuery = z.strictObject({
  group: plainName.optional().describe('only of nodes of this group'),
  kind: z.enum(referenceKinds).optional().describe('only of this kind of references'),
});

/** A thing that no reference in force has; `more` is how many others of its kind there are. */
export const shownThing = z.object({
  what: z.string(),
  name: z.string(),
  digest: z.string().nullable(),
  more: z.int(),
});

/** A finding that some nodes share and no reference in force has. */
export const referenceCandidate = z.object({
  kind: z.enum(referenceKinds),
  /** The group of the policy, by the latest verdicts. */
  group: z.string(),
  /** The same for nodes that show the same, identifiers of machines aside; it changes with what is in force. */
  set: z.string(),
  /** One sentence for a person. */
  text: z.string(),
  /** The cause first. */
  things: z.array(shownThing),
  /** Codes that count against the nodes. */
  codes: z.array(reasonCodeSchema),
  /** Rules of the policy among these that are broken: no reference changes that. */
  rules: z.array(reasonCodeSchema),
  /** An allowed signer vouches for all of it. */
  signed: z.boolean(),
  /** By name. */
  nodes: z.array(z.string()),
  /** When one of these nodes showed it first, and when one proved it last. */
  firstSeen: z.iso.datetime(),
  lastSeen: z.iso.datetime().nullable(),
  /** A reference that has it and is not in force. */
  knownBy: z.object({ name: z.string(), state: z.enum(referenceStates) }).nullable(),
  /** The effect of the command; null if there is none. */
  step: z.enum(['approve', 'capture']).nullable(),
  /** The name that a capture would give: it is free. */
  name: plainName.nullable(),
  command: z.string().nullable(),
  /** Things to know before, a sentence each. */
  notes: z.array(z.string()),
});
export type ReferenceCandidate = z.infer<typeof referenceCandidate>;

export const referenceCandidates = listOf(referenceCandidate).extend({
  /** All nodes of which the server knows something, and how many of them are in `items` or `more`. */
  nodes: z.int(),
  unknown: z.int(),
  /** Counts of what is not in `items`, which has those of most nodes. */
  more: z.object({ candidates: z.int(), nodes: z.int() }),
  /** Nodes of which nothing is offered, and why: somebody lies, or a reference was revoked. */
  held: z.array(z.object({ node: z.string(), codes: z.array(reasonCodeSchema) })),
});
export type ReferenceCandidates = z.infer<typeof referenceCandidates>;
