import { z } from 'zod';
import { isReasonCode, type ReasonClass, type ReasonCode, reasonClasses } from './reasons.ts';

export const nodeStates = ['pending', 'trusted', 'untrusted', 'unknown', 'unsupported'] as const;
export type NodeState = (typeof nodeStates)[number];

export const aspects = ['identity', 'boot', 'runtime', 'disk', 'firewall', 'host'] as const;
export type AspectName = (typeof aspects)[number];

/** AR4SI trustworthiness tiers (draft-ietf-rats-ar4si). */
export const aspectStatuses = ['affirming', 'warning', 'contraindicated', 'none'] as const;
export type AspectStatus = (typeof aspectStatuses)[number];

/** Who vouches: what the TPM signed, what the node merely says, or what the server itself observed. */
export const sources = ['tpm', 'host', 'server'] as const;
export type Source = (typeof sources)[number];

export const severities = ['fail', 'warn', 'info'] as const;
export type Severity = (typeof severities)[number];

/** The effect of a group's verdicts in a cluster, the least first. */
export const modes = ['observe', 'label', 'enforce'] as const;
export type Mode = (typeof modes)[number];

/** Lines of the detail of one finding: of more, the last one says how many are left out. */
export const mostDetail = 64;

/** One finding, as stored, shown by `assay why` and returned by the API. */
export interface Reason {
  readonly code: ReasonCode;
  readonly class: ReasonClass;
  readonly aspect: AspectName;
  readonly severity: Severity;
  readonly source: Source;
  /** The value that the policy or the reference wants; null if there is nothing to compare with. */
  readonly expected: string | null;
  readonly actual: string | null;
  /** One sentence for a person. */
  readonly text: string;
  /** Digest of the part of the evidence (a boot log) and the position in it (an event's index, a PCR), where there is one. */
  readonly evidence: { readonly digest: string; readonly position: string } | null;
  /** Name of the reference that was compared with, where there is one. */
  readonly reference?: string | undefined;
  /** Name of a staged or retired reference all of which the boot has, where none in force knows it: it can be approved. */
  readonly outOfForce?: string | undefined;
  /** Lines for a person below it: the layers of a disk, a difference. `printable`, at most `mostDetail` lines. */
  readonly detail?: readonly string[] | undefined;
  /** Stage and strongest digest of what was measured instead: a change on many nodes is one change where it is the same. */
  readonly value?: string | undefined;
  /** An allowed signer vouches for all that changed: measured Secure Boot authorities, none of which is unknown. */
  readonly signed?: true;
}

export interface AspectResult {
  readonly status: AspectStatus;
  readonly source: Source;
  /** Names of the references that affirm it: the node booted like these. Absent if none do. */
  readonly references?: readonly string[] | undefined;
}

/** The decision of `policy` about one piece of proven evidence. */
export interface Verdict {
  readonly state: NodeState;
  readonly reasons: readonly Reason[];
  readonly aspects: Partial<Record<AspectName, AspectResult>>;
  /** The group whose rules applied, the aspects it requires, its mode. */
  readonly group: string;
  readonly require: readonly AspectName[];
  readonly mode: Mode;
  /** `name@revision` of the policy: the first 12 hex digits of the SHA-256 of its text. */
  readonly policy: string;
  /** The server was on trial: the TPM may be a program, and nothing may rest on what it says. */
  readonly trial?: true;
}

// The same as schemas, for what comes from a disk or a network: words of another version are faults there.

export const nodeStateSchema = z.enum(nodeStates);
export const aspectSchema = z.enum(aspects);
export const modeSchema = z.enum(modes);

export const reasonCodeSchema = z
  .string()
  .refine((word): word is ReasonCode => isReasonCode(word), 'not a reason code')
  .meta({ description: 'a reason code of the closed list' });

export const reasonSchema = z.object({
  code: reasonCodeSchema,
  class: z.enum(reasonClasses),
  aspect: aspectSchema,
  severity: z.enum(severities),
  source: z.enum(sources),
  expected: z.string().nullable(),
  actual: z.string().nullable(),
  text: z.string(),
  evidence: z.object({ digest: z.string(), position: z.string() }).nullable(),
  reference: z.string().optional(),
  outOfForce: z.string().optional(),
  detail: z.array(z.string()).readonly().optional(),
  value: z.string().optional(),
  // Left out where nobody vouches, and by an earlier version.
  signed: z.literal(true).exactOptional(),
}) satisfies z.ZodType<Reason>;

/** True if all that counts against a node is a change for which an allowed signer vouches: a ticket, no alarm. */
export function isSigned(reasons: readonly Reason[]): boolean {
  const against = reasons.filter(({ severity }) => severity === 'fail');
  return against.length > 0 && against.every(({ class: is, signed }) => is === 'drift' && signed === true);
}

export const aspectResultsSchema = z.partialRecord(
  aspectSchema,
  z.object({
    status: z.enum(aspectStatuses),
    source: z.enum(sources),
    references: z.array(z.string()).readonly().optional(),
  }),
) satisfies z.ZodType<Verdict['aspects']>;

export const verdictSchema: z.ZodType<Verdict> = z.object({
  state: nodeStateSchema,
  reasons: z.array(reasonSchema),
  aspects: aspectResultsSchema,
  group: z.string(),
  require: z.array(aspectSchema),
  mode: modeSchema,
  policy: z.string(),
  trial: z.literal(true).exactOptional(),
});
