import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const kinds: Readonly<Record<string, 'history' | 'audit' | 'answers' | 'parts' | 'statuses'>> = {
  history: 'history',
  history_by_node: 'history',
  audit: 'audit',
  checkpoints: 'audit',
  answers: 'answers',
  evidence: 'parts',
  sqlite_autoindex_evidence_1: 'parts',
  evidence_uses: 'parts',
  sqlite_autoindex_evidence_uses_1: 'parts',
  proofs: 'statuses',
  proofs_by_node: 'statuses',
  sqlite_autoindex_proofs_1: 'statuses',
  statuses: 'statuses',
  sqlite_autoindex_statuses_1: 'statuses',
};

/** What a table or an index is for. */
export const kindOfTable = (name: string) => kinds[name] ?? 'others';

/**
 * Bytes of each table and index that `isCounted` takes: the others are not read.
 * @param isQuiet nobody else writes: what is in the write-ahead log is put into the file first
 */
export function tableBytes(
  stateDir: string,
  {
    isQuiet = true,
    isCounted = () => true,
  }: { readonly isQuiet?: boolean; readonly isCounted?: (name: string) => boolean } = {},
): Map<string, number> {
  const database = new DatabaseSync(join(stateDir, 'assay.db'), { timeout: 5_000 });
  try {
    if (isQuiet) database.exec('pragma wal_checkpoint(truncate)');
    const names = database.prepare('select name from sqlite_schema where rootpage > 0').all();
    const bytes = database.prepare('select sum(pgsize) as bytes from dbstat where name = ?');
    return new Map(
      names
        .map(({ name }) => String(name))
        .filter(isCounted)
        .map((name) => [name, Number(bytes.get(name)?.bytes ?? 0)]),
    );
  } finally {
    database.close();
  }
}
