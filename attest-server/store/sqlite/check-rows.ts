import { hash } from 'node:crypto';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { Kysely, SqliteDialect } from 'kysely';
import type { DatabaseDamage } from '../../formats/database-damage.ts';
import { nodeOf } from '../enrolment.ts';
import { decisionOf } from '../marking.ts';
import { referenceOf } from '../references.ts';
import type { Tables } from '../schema.ts';
import { statusOf } from '../status-row.ts';
import { UnreadableRow } from '../unreadable-row.ts';
import { entryOf } from '../verdicts.ts';
import { kyselyDatabase } from './driver.ts';
import { migrate } from './migrations.ts';

/** A damaged row, or how many rows were read since the last report. */
export type RowReport = DatabaseDamage | number;

/** Rows between two reports of progress. */
const step = 4096;

/**
 * Reads every row of a store of this schema, and reports rows that the store cannot read, content that does not match its
 * digest, and text that is not UTF-8. A value changed into another valid one is not found: most columns have no digest.
 */
export async function* checkRows(connection: DatabaseSync): AsyncGenerator<RowReport> {
  yield* within('sqlite_schema', function* () {
    yield* schemaFaults(connection);
    for (const [table, columns] of tablesOf(connection)) yield* columnsOf(connection, table, columns);
  });
  for (const { table, sql } of kept) yield* within(table, () => digestsOf(connection, table, sql));
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: kyselyDatabase(connection) }) });
  yield* parsedRows(db);
}

/** Shapes of texts that are no JSON, by the names of their columns. */
const hex64 = /^[0-9a-f]{64}$/;
const shapes: Readonly<Record<string, RegExp>> = {
  ek_digest: hex64,
  // Empty in a row of a version that did not know it.
  key_digest: /^([0-9a-f]{64})?$/,
  ak_name: /^([0-9a-f]{2})+$/,
  evidence_digest: hex64,
  recorded_evidence: hex64,
  secret_hash: hex64,
  endorsed_by: hex64,
  sha256: hex64,
  sha384: /^[0-9a-f]{96}$/,
  sha512: /^[0-9a-f]{128}$/,
  manifest: hex64,
  instead_of: hex64,
  // Of an allowance its first digits may be kept.
  digest: /^[0-9a-f]{1,64}$/,
  clock: /^\d{1,20}$/,
  role: /^(reader|operator|admin)$/,
  boot_id: /^[\x20-\x7e]*$/,
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  header_digest: hex64,
  lease_id: /^[0-9a-f]{32}$/,
};

/** The last millisecond of the year 9999. */
const latest = 253_402_300_799_999;
const moments = /^(at|since|.*_at|.*_after|last_seen|first_seen|.*_since)$/;

/** Compares tables, columns, indexes and triggers with those that this program makes. */
function* schemaFaults(connection: DatabaseSync): Generator<RowReport> {
  using made = new DatabaseSync(':memory:');
  migrate(made);
  const [found, wanted] = [partsOf(connection), partsOf(made)];
  for (const part of wanted)
    if (!found.has(part)) yield { kind: 'rows', table: 'sqlite_schema', text: `it has no ${part}` };
}

function partsOf(connection: DatabaseSync): ReadonlySet<string> {
  const columns = [...tablesOf(connection)].flatMap(([table, its]) =>
    its.map((column) => `column ${column} of the table ${table}`),
  );
  const rest = connection
    .prepare("select type, name from sqlite_schema where type in ('index', 'trigger')")
    .all()
    .map(({ type, name }) => `${type} ${name}`);
  return new Set([...columns, ...rest]);
}

function tablesOf(connection: DatabaseSync): ReadonlyMap<string, readonly string[]> {
  const rows = connection
    .prepare(
      "select tables.name as name, columns.name as col from pragma_table_list tables, pragma_table_info(tables.name) columns where tables.schema = 'main' and tables.name not like 'sqlite_%' order by tables.name, columns.cid",
    )
    .all();
  return new Map(
    [...Map.groupBy(rows, ({ name }) => String(name))].map(([name, its]) => [
      name,
      its.map(({ col }) => String(col)),
    ]),
  );
}

function columnsOf(
  connection: DatabaseSync,
  table: string,
  columns: readonly string[],
): Generator<RowReport> {
  return within(table, function* () {
    const rows = connection.prepare(`select * from "${table}"`);
    rows.setReturnArrays(true);
    let count = 0;
    for (const values of rows.iterate()) {
      count += 1;
      for (let index = 0; index < columns.length; index += 1) {
        const column = columns[index] ?? '';
        const fault = valueFault(connection, table, column, values[index] ?? null);
        if (fault !== null)
          yield { kind: 'rows', table, text: `the column ${column} of its row ${count} ${fault}` };
      }
      if (count % step === 0) yield step;
    }
    yield count % step;
  });
}

function valueFault(
  connection: DatabaseSync,
  table: string,
  column: string,
  value: SQLOutputValue,
): string | null {
  if (typeof value === 'number' && moments.test(column))
    return value < 0 || value > latest ? 'is no moment' : null;
  if (typeof value !== 'string') return null;
  const shape = shapes[column];
  if (shape !== undefined && !shape.test(value)) return 'has not the form of its values';
  if (!value.includes('\ufffd')) return null;
  // Bytes that are no UTF-8 come as this character, too: those are not what a row has.
  const found = connection.prepare(`select 1 from "${table}" where "${column}" = ? limit 1`).get(value);
  return found === undefined ? 'is no text' : null;
}

/** Bytes, and the digest that they are kept under. */
const kept: readonly { readonly table: keyof Tables; readonly sql: string }[] = [
  { table: 'evidence', sql: 'select digest, bytes from evidence' },
  { table: 'proofs', sql: 'select evidence_digest, bytes from proofs where bytes is not null' },
  {
    table: 'answers',
    sql: 'select evidence_digest, bytes from answers left join history using (id)',
  },
  { table: 'policies', sql: 'select digest, cast(text as blob) from policies' },
  { table: 'nodes', sql: 'select ek_digest, ek_public_area from nodes' },
  { table: 'nodes', sql: 'select substr(ak_name, 5), ak_public_area from nodes' },
  { table: 'candidates', sql: 'select ek_digest, ek_public_area from candidates' },
];

function* digestsOf(connection: DatabaseSync, table: string, sql: string): Generator<RowReport> {
  const rows = connection.prepare(sql);
  rows.setReturnArrays(true);
  let count = 0;
  for (const { 0: digest, 1: bytes } of rows.iterate()) {
    count += 1;
    if (!(bytes instanceof Uint8Array) || typeof digest !== 'string')
      yield { kind: 'rows', table, text: `row ${count} has no digest, or nothing that it is of` };
    else if (hash(digest.length === 96 ? 'sha384' : 'sha256', bytes, 'hex') !== digest)
      yield { kind: 'rows', table, text: `what is kept under ${digest} has another digest` };
    if (count % step === 0) yield 0;
  }
}

/** By the functions of the store that read them. */
async function* parsedRows(db: Kysely<Tables>): AsyncGenerator<RowReport> {
  const statuses = db
    .selectFrom('statuses')
    .innerJoin('nodes', 'nodes.ek_digest', 'statuses.ek_digest')
    .leftJoin('proofs', 'proofs.ek_digest', 'statuses.ek_digest')
    .selectAll('statuses')
    .select([
      'nodes.name',
      'proofs.verified_at',
      'proofs.expires_at',
      'proofs.clock',
      'proofs.evidence_digest',
    ])
    .select(({ fn, val }) => fn.coalesce('proofs.repeats', val(0)).as('repeats'));
  yield* each('nodes', db.selectFrom('nodes').selectAll().stream(1), nodeOf);
  yield* each('statuses', statuses.stream(1), statusOf);
  yield* each('history', db.selectFrom('history').selectAll().stream(1), entryOf);
  yield* each('reference_values', db.selectFrom('reference_values').selectAll().stream(1), referenceOf);
  yield* each('cluster_decisions', db.selectFrom('cluster_decisions').selectAll().stream(1), decisionOf);
}

async function* each<R>(
  table: keyof Tables,
  rows: AsyncIterableIterator<R>,
  parse: (row: R) => unknown,
): AsyncGenerator<RowReport> {
  let count = 0;
  try {
    for await (const row of rows) {
      count += 1;
      try {
        parse(row);
      } catch (error) {
        if (!(error instanceof UnreadableRow)) throw error;
        yield { kind: 'rows', table, text: error.message };
      }
      if (count % step === 0) yield 0;
    }
  } catch (error) {
    yield unreadable(table, error);
  }
}

function* within(table: string, read: () => Generator<RowReport>): Generator<RowReport> {
  try {
    yield* read();
  } catch (error) {
    yield unreadable(table, error);
  }
}

function unreadable(table: string, error: unknown): DatabaseDamage {
  const text = error instanceof Error ? error.message : String(error);
  return { kind: 'rows', table, text: `its rows cannot be read on: ${text}` };
}
