import type { Reporting } from '../telemetry/reporting.ts';
import { outsideText } from '../wire/printable.ts';
import type { Store } from './open.ts';
import type { OnUnreadable } from './unreadable-row.ts';

/** Names of tables as `UnreadableRow` has them. */
const tables = ['audit', 'cluster_decisions', 'evidence', 'history', 'node', 'reference', 'status'];
/** How many unreadable rows are reported, each once. */
const mostNamed = 1000;

/** Counts and reports rows that were left out because they cannot be read. */
export function storeReport({ figures, logger, audit }: Reporting): { readonly unreadable: OnUnreadable } {
  const rows = figures.counter(
    'store_unreadable_rows_total',
    'Rows of the store that cannot be read',
    ['table'],
    tables.map((table) => ({ table })),
  );
  const named = new Set<string>();
  return {
    unreadable(row) {
      const name = `${row.table} ${row.key}`;
      const isNew = !named.has(name) && named.size < mostNamed;
      logger[isNew ? 'error' : 'debug']({ err: row }, 'a row of the store cannot be read and is left out');
      if (!isNew) return;
      named.add(name);
      rows.inc({ table: row.table });
      audit('store.unreadable', name, { text: outsideText(row.message) });
    },
  };
}

export function storeFigures(figures: Reporting['figures'], store: Pick<Store, 'size'>): void {
  figures.sampled(
    'store_bytes',
    'Bytes of the database on the disk, with its write-ahead log',
    () => store.size().bytes,
  );
}
