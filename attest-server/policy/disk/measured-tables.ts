import type { MeasuredTarget } from '../../verify/ima/proven-list.ts';
import type { Proven } from '../../verify/proven.ts';
import { type CryptTarget, measuredTarget } from './crypt-target.ts';

/** Live tables of the device mapper for which the TPM vouches, by `major:minor`. */
export type MeasuredTables = ReadonlyMap<string, MeasuredTable>;

export interface MeasuredTable {
  readonly name: string;
  readonly uuid: string;
  /** At least one. */
  readonly targets: readonly CryptTarget[];
  /** Number of the entry of IMA's list that says it. */
  readonly entry: number;
}

/**
 * The tables that the kernel measured of its mappings, if only these can be in force. Attack: a table that encrypts nothing,
 * then one that does, then the first one again, which the kernel measures no second time.
 */
export function measuredTables(ima: Proven['ima']): MeasuredTables {
  const tables = new Map<string, MeasuredTable>();
  if (ima === null || !('mappings' in ima)) return tables;
  // A kernel that kexec started has none of the mappings of the one before.
  const started = ima.aggregates.at(-1) ?? 0;
  for (const { name, uuid, major, minor, entry, state, isOnlyTable, targets } of ima.mappings)
    if (state === 'active' && isOnlyTable && entry > started && targets.length > 0)
      tables.set(`${major}:${minor}`, { name, uuid, targets: targets.map(targetOf), entry });
  return tables;
}

/** Equal where the tables are. */
export function measuredText(tables: MeasuredTables): string {
  return JSON.stringify([...tables]);
}

function targetOf({ type, parameters }: MeasuredTarget): CryptTarget {
  return measuredTarget(type, parameters.get('cipher_string'), parameters.get('key_size'));
}
