import type { RawBuilder } from 'kysely';
import { z } from 'zod';
import { isReasonCode } from '../protocol/reasons.ts';
import { nodeStates } from '../protocol/verdict.ts';
import { knownWord } from './columns.ts';
import type { StatusRow } from './schema.ts';
import type { KeptSequence, NodeStatus } from './store.ts';
import { parseVerdict, verdictText } from './stored-verdict.ts';
import { parseRow } from './unreadable-row.ts';

/** A status with the name that its endorsement key has now. */
export interface NamedStatusRow extends StatusRow {
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
    bootedAt: row.booted_at,
    resetCount: row.reset_count,
    restartCount: row.restart_count,
    clock: row.clock === null ? null : BigInt(row.clock),
    firmwareVersion: row.firmware_version,
    bootId: row.boot_id,
    sequence: row.sequence === null ? null : keptSequence.parse(JSON.parse(row.sequence)),
    kernel: row.kernel,
    systemUuid: row.system_uuid,
    bootLogDigest: row.boot_log_digest,
    evidenceDigest: row.evidence_digest,
  }));
}

export function statusRow(status: NodeStatus): { readonly [K in keyof StatusRow]: StatusRow[K] } {
  return {
    ek_digest: status.ekDigest,
    state: status.state,
    verdict: status.verdict === null ? null : verdictText(status.verdict),
    verified_at: status.verifiedAt,
    expires_at: status.expiresAt,
    booted_at: status.bootedAt,
    reset_count: status.resetCount,
    restart_count: status.restartCount,
    clock: status.clock === null ? null : status.clock.toString(),
    firmware_version: status.firmwareVersion,
    boot_id: status.bootId,
    sequence: status.sequence === null ? null : sequenceText(status.sequence),
    kernel: status.kernel,
    system_uuid: status.systemUuid,
    boot_log_digest: status.bootLogDigest,
    evidence_digest: status.evidenceDigest,
  };
}

const keptSequence = z.strictObject({
  firstBootId: z.string().nullable(),
  rewind: z.enum(['none', 'seen', 'passed']),
  held: z.string().refine(isReasonCode).nullable(),
});

const sequenceTexts = new WeakMap<KeptSequence, string>();

/** It seldom changes, and stands in each verdict: written once. */
function sequenceText(sequence: KeptSequence): string {
  const known = sequenceTexts.get(sequence);
  if (known !== undefined) return known;
  const text = JSON.stringify(sequence);
  sequenceTexts.set(sequence, text);
  return text;
}

/** Every column but the key, as values that a query's run will bring. */
export function statusValues(value: <K extends keyof StatusRow>(name: K) => RawBuilder<StatusRow[K]>) {
  return {
    state: value('state'),
    verdict: value('verdict'),
    verified_at: value('verified_at'),
    expires_at: value('expires_at'),
    booted_at: value('booted_at'),
    reset_count: value('reset_count'),
    restart_count: value('restart_count'),
    clock: value('clock'),
    firmware_version: value('firmware_version'),
    boot_id: value('boot_id'),
    sequence: value('sequence'),
    kernel: value('kernel'),
    system_uuid: value('system_uuid'),
    boot_log_digest: value('boot_log_digest'),
    evidence_digest: value('evidence_digest'),
  };
}
