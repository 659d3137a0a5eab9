import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type OpenedDatabase, openDatabase } from '../cli/offline/audit/database-file.ts';
import { linesIn } from '../cli/offline/audit/log-in-database.ts';
import { readWitness } from '../cli/offline/audit/log-in-file.ts';
import { AuditLogCheck, type AuditLogResult, UnreadableAuditLog } from '../cli/offline/audit/verify-log.ts';
import type { ServerValues } from '../config.ts';
import { parseBackupName } from '../formats/backup-name.ts';
import { type DatabaseDamage, restoreCommands } from '../formats/database-damage.ts';
import { faultText, storageCauseOf } from '../formats/server-fault.ts';
import { checkRows } from '../store/sqlite/check-rows.ts';
import { checkSchema, SchemaMismatch, schemaVersion } from '../store/sqlite/migrations.ts';

/** A database, or a copy of one, that was read from its first to its last byte. */
export interface CheckedStore {
  readonly path: string;
  readonly whole: boolean;
  readonly bytes: number;
  /** Null if it cannot be read. */
  readonly schema: number | null;
  /** Rows that were read; null if the schema is not that of this program: then only pages and audit log were looked at. */
  readonly rows: number | null;
  readonly damage: readonly DatabaseDamage[];
  /** Null if nobody can read it. */
  readonly audit: Pick<AuditLogResult, 'origin' | 'size' | 'signed'> | null;
}

/** A checked store, with the latest copy that can take its place. */
export interface StoreReport extends CheckedStore {
  /** Null if there is none, or none is needed. */
  readonly copy: string | null;
  /** Commands that put it there, in order. */
  readonly restore: readonly string[];
}

/** Called with a sentence about how far it is. */
type Progress = (text: string) => void;

/**
 * Prints what was found of the database of the state folder, or of a copy.
 * @param settings null for a copy
 * @returns the exit code
 * @throws Error if the file cannot be looked at
 */
export async function checkedStore(
  copy: string | null,
  settings: Pick<ServerValues, 'stateDir' | 'backup.directory'> | null,
  output: 'json' | 'text',
): Promise<0 | 1> {
  const path = copy ?? join(settings?.stateDir ?? '', 'assay.db');
  const copies =
    settings === null
      ? [dirname(path)]
      : [join(settings.stateDir, 'backups'), settings['backup.directory'] ?? ''];
  const say = (text: string) => process.stderr.write(`assay-server: ${text}\n`);
  const report = await checkStore(path, copies, say).catch((error: unknown) => {
    throw new Error(notLookedAt(path, error), { cause: error });
  });
  process.stdout.write(output === 'json' ? `${JSON.stringify(report)}\n` : storeText(report));
  return report.whole ? 0 : 1;
}

function notLookedAt(path: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'ENOENT')
    return `there is no ${path}: name the state folder of the server (--state-dir), or a copy (--store FILE)`;
  if (code === 'EACCES') return `${path} may not be read by this user: type this as the user of the server`;
  if (error instanceof NoFile) return error.message;
  const cause = storageCauseOf(error);
  const text = error instanceof Error ? error.message : String(error);
  return `${path} cannot be looked at: ${cause === null ? text : `${faultText(cause)} (${text})`}`;
}

/**
 * Reads the whole database of a state folder, also beside a server that runs, or a copy.
 * @param copies folders of copies, of which one is looked for if the database of the state folder is damaged
 * @throws Error if the file cannot be looked at: nothing is known of it then
 */
export async function checkStore(
  path: string,
  copies: readonly string[],
  progress: Progress,
): Promise<StoreReport> {
  const checked = await checkDatabase(path, progress);
  const nothing = { ...checked, copy: null, restore: [] };
  if (!isBroken(checked)) return nothing;
  for (const copy of copiesIn(copies).filter((each) => each !== resolve(path))) {
    progress(`looking at the copy ${copy}`);
    if (!(await checkDatabase(copy, progress)).whole) continue;
    const folder = dirname(path);
    const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const restore = isInState(path) ? restoreCommands(folder, copy, join(folder, `damaged-${time}`)) : [];
    return { ...checked, copy, restore };
  }
  return nothing;
}

/** For a person; the last lines say what to do. */
export function storeText({
  path,
  whole,
  bytes,
  schema,
  rows,
  damage,
  audit,
  copy,
  restore,
}: StoreReport): string {
  const log =
    audit === null
      ? []
      : [`its audit log (${audit.origin}): ${audit.size} entries in order, ${audit.signed} of them signed`];
  if (whole) {
    const read =
      rows === null
        ? `of schema ${schema}: its pages and its audit log were read, its rows only once it has schema ${schemaVersion}, by the first start of this version`
        : `schema ${schema}, ${rows} rows`;
    return `${[`${path} is whole: ${bytes} bytes, ${read}`, ...log].join('\n')}\n`;
  }
  const named = damage
    .slice(0, mostNamed)
    .map(({ table, text }) => `  ${table === null ? '' : `table ${table}: `}${text}`);
  const more = damage.length > mostNamed ? [`  and ${damage.length - mostNamed} more`] : [];
  return `${[headOf(path, damage), ...named, ...more, ...log, ...whatToDo({ path, damage, copy, restore })].join('\n')}\n`;
}

const mostNamed = 20;

function headOf(path: string, damage: readonly DatabaseDamage[]): string {
  const [first] = damage;
  if (first?.kind === 'foreign') return `${path} is no database of Assay:`;
  if (first?.kind === 'newer' || first?.kind === 'older') return `${path} is not for this version of Assay:`;
  return isOfLogAlone(damage)
    ? `the audit log in ${path} is not the one that was signed:`
    : `${path} is damaged:`;
}

function whatToDo({
  path,
  damage,
  copy,
  restore,
}: Pick<StoreReport, 'path' | 'damage' | 'copy' | 'restore'>): readonly string[] {
  if (damage.some(({ kind }) => kind === 'newer' || kind === 'older')) return [];
  if (isOfLogAlone(damage))
    return [
      'If you restored an older copy, say so once the server runs (docs/backup.md, "When the database is older than what was signed"):',
      "  assay audit resolve --reason 'an older copy was restored'",
      'Else somebody changed it: keep this file, and compare it with your latest copy.',
    ];
  if (copy === null)
    return [
      'There is no intact copy beside it. Restore one that you keep elsewhere (docs/backup.md, "Restore"), and check it first: assay-server check --store FILE',
    ];
  if (!isInState(path)) return [`Do not restore this copy. The latest intact one is ${copy}`];
  return [
    `The latest intact copy is ${copy}: everything after it is lost. Stop the server, type this as its user, and start it again (docs/backup.md, "Restore"):`,
    ...restore.map((command) => `  ${command}`),
  ];
}

/** Whether another file must take its place. */
function isBroken({ whole, damage }: CheckedStore): boolean {
  return !whole && !isOfLogAlone(damage) && !damage.some(({ kind }) => kind === 'newer' || kind === 'older');
}

function isOfLogAlone(damage: readonly DatabaseDamage[]): boolean {
  return damage.length > 0 && damage.every(({ kind }) => kind === 'audit_log');
}

function isInState(path: string): boolean {
  return basename(path) === 'assay.db';
}

/** Latest first, by the time in their names. */
function copiesIn(folders: readonly string[]): readonly string[] {
  return folders
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile() && parseBackupName(entry.name) !== null)
        .map(({ name }) => join(resolve(folder), name)),
    )
    .sort((a, b) => timeIn(b) - timeIn(a));
}

function timeIn(path: string): number {
  return parseBackupName(basename(path))?.at ?? 0;
}

async function checkDatabase(path: string, progress: Progress): Promise<CheckedStore> {
  const found = statSync(path);
  // Whoever opens a pipe waits for its other end.
  if (!found.isFile()) throw new NoFile(`${path} is no file: name the database itself`);
  const { size: bytes } = found;
  using database = openDatabase(path);
  const damage: DatabaseDamage[] = [];
  const schema = schemaOf(database, damage);
  const isOurs = damage.length === 0;
  if (isOurs || database.ofFile !== null) {
    progress(`reading all pages of ${path} (${bytes} bytes)`);
    damage.push(...database.pageDamage());
  }
  let audit: CheckedStore['audit'] = null;
  let rows: number | null = null;
  if (isOurs && database.ofFile === null) {
    audit = checkLog(path, database, damage, progress);
    if (schema === schemaVersion) {
      rows = 0;
      let next = performance.now() + progressEvery;
      for await (const report of checkRows(database.connection)) {
        if (typeof report === 'number') rows += report;
        else damage.push(report);
        if (performance.now() < next) continue;
        next = performance.now() + progressEvery;
        progress(`${rows} rows so far`);
      }
    }
  }
  const each = new Map(damage.map((found) => [`${found.table} ${found.text}`, found]));
  return {
    path: resolve(path),
    whole: each.size === 0,
    bytes,
    schema,
    rows,
    damage: [...each.values()],
    audit,
  };
}

class NoFile extends Error {
  override readonly name = 'NoFile';
}

const progressEvery = 5_000;

function schemaOf({ connection, ofFile, textOf }: OpenedDatabase, damage: DatabaseDamage[]): number | null {
  if (ofFile !== null) return null;
  try {
    const schema = checkSchema(connection);
    if (schema > 0) return schema;
    damage.push({ kind: 'foreign', table: null, text: 'it has no tables' });
  } catch (error) {
    if (error instanceof SchemaMismatch) damage.push({ kind: error.kind, table: null, text: error.message });
    else damage.push({ kind: 'pages', table: null, text: textOf(error) });
  }
  return null;
}

function checkLog(
  path: string,
  database: OpenedDatabase,
  damage: DatabaseDamage[],
  progress: Progress,
): CheckedStore['audit'] {
  const mark = join(dirname(path), 'audit-checkpoint');
  const check = new AuditLogCheck(isInState(path) && existsSync(mark) ? readWitness(mark) : null);
  progress('following the audit log from its first entry');
  try {
    for (const line of linesIn(database)) if (!check.take(line)) break;
  } catch (error) {
    if (!(error instanceof UnreadableAuditLog)) throw error;
    check.unreadable(error);
  }
  const { ok, origin, size, signed, fault } = check.end();
  if (ok) return { origin, size, signed };
  damage.push({ kind: 'audit_log', table: 'audit', text: fault?.text ?? 'it is not in order' });
  return null;
}
