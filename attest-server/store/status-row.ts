import type { RawBuilder } from 'kysely';
import { nodeStates } from '../protocol/verdict.ts';
import type { StatusRow } from './schema.ts';
import type { NodeStatus } from './store.ts';
import { parseVerdict, verdictText } from './stored-verdict.ts';
import { parseRow } from './unreadable-row.ts';

/** A status with the name that its endorsement key has now. */
export interface NamedStatusRow extends StatusRow {
  readonly name: string;
}

/** @throws UnreadableRow */
export function statusOf(row: NamedStatusRow): NodeStatus {
  return parseRow('status', row.name, () => {
    const state = nodeStates.find((known) => known === row.state);
    if (state === undefined) throw new Error(`state "${row.state}" is not known`);
    return {
      name: row.name,
      ekDigest: row.ek_digest,
      state,
      verdict: row.verdict === null ? null : parseVerdict(row.verdict),
      verifiedAt: row.verified_at,
      expiresAt: row.expires_at,
      bootedAt: row.booted_at,
      resetCount: row.reset_count,
      restartCount: row.restart_count,
      clock: row.clock === null ? null : BigInt(row.clock),
      firmwareVersion: row.firmware_version,
      bootId: row.boot_id,
      kernel: row.kernel,
      bootLogDigest: row.boot_log_digest,
      evidenceDigest: row.evidence_digest,
    };
  });
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
    kernel: status.kernel,
    boot_log_digest: status.bootLogDigest,
    evidence_digest: status.evidenceDigest,
  };
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
    kernel: value('kernel'),
    boot_log_digest: value('boot_log_digest'),
    evidence_digest: value('evidence_digest'),
  };
}
