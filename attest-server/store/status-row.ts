import type { RawBuilder } from 'kysely';
import { z } from 'zod';
import type { KeptSequence, Moved, NodeStatus } from '../attest/ports.ts';
import type { TrustedBy } from '../attest/trusted-by.ts';
import { ourChanges, turns } from '../formats/our-change.ts';
import { partNames } from '../wire/evidence.ts';
import { heldIn, writtenHeldCodes } from '../wire/reasons.ts';
import { nodeStates, type Verdict, verdictSchema } from '../wire/verdict.ts';
import { knownWord } from './columns.ts';
import type { ProofRow, StatusRow } from './schema.ts';
import { parseRow } from './unreadable-row.ts';

/** The columns of a status that verdicts write. */
type JudgedRow = Omit<StatusRow, 'seen_address' | 'seen_agent'>;

/** A status with the name that its endorsement key has now. */
export interface NamedStatusRow extends JudgedRow, Omit<ProofRow, 'node' | 'bytes'> {
  readonly name: string;
}

/** @throws UnreadableRow */
export function statusOf(row: NamedStatusRow): NodeStatus {
  return parseRow('status', row.name, () => ({
    name: row.name,
    ekDigest: row.ek_digest,
    state: knownWord(nodeStates, row.state, 'state'),
    verdict: row.verdict === null ? null : parseVerdict(row.verdict),
    verifiedAt: row.verified_at,
    expiresAt: row.expires_at,
    trustedAt: row.trusted_at,
    bootSeenAt: row.boot_seen_at,
    bootedAfter: row.booted_after,
    bootedAt: row.booted_at,
    resetCount: row.reset_count,
    restartCount: row.restart_count,
    clock: row.clock === null ? null : BigInt(row.clock),
    firmwareVersion: row.firmware_version,
    bootId: row.boot_id,
    sequence: row.sequence === null ? null : keptSequence.parse(JSON.parse(row.sequence)),
    kernel: row.kernel,
    systemUuid: row.system_uuid,
    parts: parseParts(row.parts),
    memory: row.memory === null ? {} : keptMemory.parse(JSON.parse(row.memory)),
    evidenceDigest: row.evidence_digest,
    recordedAt: row.recorded_at,
    recordedEvidence: row.recorded_evidence,
    repeats: row.repeats,
    since: row.since,
    trustedBy: row.trusted_by === null ? null : trustedByKept.parse(JSON.parse(row.trusted_by)),
  }));
}

/** The status of an unreadable row. Findings against its TPM are lost, so a person must approve it again. */
export function heldStatus({
  name,
  ek_digest: ekDigest,
}: Pick<NamedStatusRow, 'name' | 'ek_digest'>): NodeStatus {
  return {
    name,
    ekDigest,
    state: 'unknown',
    verdict: null,
    verifiedAt: null,
    expiresAt: null,
    trustedAt: null,
    bootSeenAt: null,
    bootedAfter: null,
    bootedAt: null,
    resetCount: 0,
    restartCount: 0,
    clock: 0n,
    firmwareVersion: null,
    bootId: null,
    sequence: { firstBootId: null, rewind: 'none', replaced: null, held: 'counter_rollback' },
    kernel: null,
    systemUuid: null,
    parts: {},
    memory: {},
    evidenceDigest: null,
    recordedAt: null,
    recordedEvidence: null,
    repeats: 0,
    since: null,
    trustedBy: null,
  };
}

/** The verdict in a JSON column. @throws Error naming the field */
export function parseVerdict(text: string): Verdict {
  const result = verdictSchema.safeParse(JSON.parse(text));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new Error(`verdict field ${issue?.path.join('.')}: ${issue?.message}`);
}

/** The digests of a node's parts. @throws Error */
export function parseParts(text: string): NodeStatus['parts'] {
  return keptParts.parse(JSON.parse(text));
}

const keptSequence = z.strictObject({
  firstBootId: z.string().nullable(),
  rewind: z.enum(['none', 'seen', 'passed']),
  replaced: z.strictObject({ version: z.string(), resetCount: z.number() }).nullable().default(null),
  held: z.enum(writtenHeldCodes).nullable().transform(heldIn),
});
const keptParts = z.partialRecord(z.enum(partNames), z.string());
const keptMemory = z.record(z.string(), z.unknown());
const digest = z.string().regex(/^[0-9a-f]{64}$/);
const trustedByKept = z.object({
  policy: digest,
  references: digest,
  named: z.string(),
  group: z.string(),
  version: z.string(),
  measured: digest.nullable(),
  host: digest.nullable(),
  affirmedBy: z.array(z.string()).readonly(),
  turned: z
    .object({
      as: z.enum(turns),
      change: z.enum(ourChanges),
      by: z.string(),
      left: z.array(z.string()).readonly(),
      at: z.number(),
      isSame: z.boolean(),
      shown: z
        .object({
          parts: keptParts,
          resetCount: z.number().nullable(),
          restartCount: z.number().nullable(),
          bootId: z.string().nullable(),
        })
        .nullable(),
      memory: keptMemory,
    })
    .nullable(),
}) satisfies z.ZodType<TrustedBy>;

/** Cached texts: equal verdicts share one object, which is serialized once. */
const texts = new WeakMap<TrustedBy, string>();
function trustedByText(by: TrustedBy): string {
  const text = texts.get(by) ?? JSON.stringify(by);
  texts.set(by, text);
  return text;
}

/** Digests of policy and references that a stored `trusted_by` names. @throws Error */
export function textsIn(text: string): readonly string[] {
  const { policy, references } = trustedByKept.parse(JSON.parse(text));
  return [policy, references];
}

/** The columns that every answer updates. */
type MovedRow = Omit<ProofRow, 'ek_digest' | 'node' | 'bytes'>;
/** Columns that an answer may change although its verdict is the same. */
export const shownNames = [
  'reset_count',
  'restart_count',
  'firmware_version',
  'boot_id',
  'sequence',
  'kernel',
  'system_uuid',
  'parts',
  'memory',
  'trusted_by',
] as const;
type ShownRow = Pick<StatusRow, (typeof shownNames)[number]>;
/** Those columns as values of a statement. */
export type MovedValues = { readonly [K in keyof MovedRow | 'ek_digest']: ProofRow[K] };
export type ShownValues = { readonly [K in keyof ShownRow | 'ek_digest']: JudgedRow[K] };
export type StatusValues = { readonly [K in keyof JudgedRow]: JudgedRow[K] };

export function movedRow(status: Moved): MovedValues {
  return {
    ek_digest: status.ekDigest,
    verified_at: status.verifiedAt,
    expires_at: status.expiresAt,
    clock: status.clock === null ? null : status.clock.toString(),
    repeats: status.repeats,
    evidence_digest: status.evidenceDigest,
  };
}

export function shownRow(status: Moved): ShownValues {
  return {
    ek_digest: status.ekDigest,
    reset_count: status.resetCount,
    restart_count: status.restartCount,
    firmware_version: status.firmwareVersion,
    boot_id: status.bootId,
    sequence: status.sequence === null ? null : sequenceText(status.sequence),
    kernel: status.kernel,
    system_uuid: status.systemUuid,
    parts: JSON.stringify(status.parts),
    memory: isEmpty(status.memory) ? null : JSON.stringify(status.memory),
    trusted_by: status.trustedBy === null ? null : trustedByText(status.trustedBy),
  };
}

export function statusRow(status: NodeStatus): StatusValues {
  return {
    ...shownRow(status),
    state: status.state,
    verdict: status.verdict === null ? null : JSON.stringify(status.verdict),
    trusted_at: status.trustedAt,
    boot_seen_at: status.bootSeenAt,
    booted_after: status.bootedAfter,
    booted_at: status.bootedAt,
    recorded_at: status.recordedAt,
    recorded_evidence: status.recordedEvidence,
    since: status.since,
  };
}

function sequenceText({ firstBootId, rewind, replaced, held }: KeptSequence): string {
  return JSON.stringify({ firstBootId, rewind, ...(replaced !== null && { replaced }), held });
}

function isEmpty(memory: NodeStatus['memory']): boolean {
  for (const _ in memory) return false;
  return true;
}

/** The columns that every answer updates, as placeholders of a statement. */
export function movedColumns(value: <K extends keyof MovedRow>(name: K) => RawBuilder<MovedRow[K]>) {
  return {
    verified_at: value('verified_at'),
    expires_at: value('expires_at'),
    clock: value('clock'),
    repeats: value('repeats'),
    evidence_digest: value('evidence_digest'),
  };
}

export function shownColumns(value: <K extends keyof ShownRow>(name: K) => RawBuilder<ShownRow[K]>) {
  return {
    reset_count: value('reset_count'),
    restart_count: value('restart_count'),
    firmware_version: value('firmware_version'),
    boot_id: value('boot_id'),
    sequence: value('sequence'),
    kernel: value('kernel'),
    system_uuid: value('system_uuid'),
    parts: value('parts'),
    memory: value('memory'),
    trusted_by: value('trusted_by'),
  };
}

/** All columns of a status but the key, as placeholders of a statement. */
export function statusColumns(value: <K extends keyof JudgedRow>(name: K) => RawBuilder<JudgedRow[K]>) {
  return {
    ...shownColumns(value),
    state: value('state'),
    verdict: value('verdict'),
    trusted_at: value('trusted_at'),
    boot_seen_at: value('boot_seen_at'),
    booted_after: value('booted_after'),
    booted_at: value('booted_at'),
    recorded_at: value('recorded_at'),
    recorded_evidence: value('recorded_evidence'),
    since: value('since'),
  };
}
