import { resolve } from 'node:path';
import { auditFilter, auditPage } from '../../../api/audit-pages.ts';
import { type AuditEntry, type AuditFilter, auditActionNames, isSelected } from '../../../formats/audit.ts';
import { shellWord } from '../../../wire/advice.ts';
import { type Client, Refusal } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import type { CliIo } from '../../io.ts';
import { pastMoment, utc } from '../../moment.ts';
import { type Format, printParts } from '../../output.ts';
import { createProgress } from '../../progress.ts';
import { withShortDigests } from '../../readable.ts';
import { growingTable } from '../../table.ts';
import { readAuditLog } from './log-in-file.ts';
import { UnreadableAuditLog } from './verify-log.ts';

export interface AuditListOptions {
  readonly node?: string;
  readonly actor?: string;
  readonly action?: readonly string[];
  readonly since?: string;
  readonly until?: string;
  readonly limit?: string;
  readonly from?: string;
  readonly output: Format;
}

/** `audit list`: entries, the oldest first, of the server or of a file; it reads, and proves nothing. */
export async function listAudit(
  { io, server }: CliContext,
  { from, limit, output: format, ...options }: AuditListOptions,
): Promise<void> {
  const parameters = parametersOf(options, io.now());
  const most = limit === undefined ? null : countOf(limit);
  const entries =
    from === undefined
      ? entriesOfServer(await server(), parameters, most)
      : entriesOfFile(resolve(io.cwd, from), auditFilter.parse(parameters), most, io);
  const rows = growingTable(headings(format === 'wide'));
  const count = await printParts(io, format, inParts(entries), (items) =>
    rows(items.map((entry) => row(entry, format === 'wide'))),
  );
  if (format === 'table' || format === 'wide')
    io.err(count === 0 ? 'no entries\n' : count === 1 ? '' : `${count} entries\n`);
}

/** Parameters of `GET /v1/audit`, checked here so that a wrong word asks no server. @throws CliError (usage) */
function parametersOf(
  { node, actor, action, since, until }: Omit<AuditListOptions, 'from' | 'limit' | 'output'>,
  now: number,
): Readonly<Record<string, string>> {
  const parameters = {
    ...(node !== undefined && { node: node.replace(/^nodes?\//, '') }),
    ...(actor !== undefined && { actor }),
    ...(action !== undefined && { action: action.join(',') }),
    ...(since !== undefined && { since: pastMoment(since, '--since', now) }),
    ...(until !== undefined && { until: pastMoment(until, '--until', now) }),
  };
  const issue = auditFilter.safeParse(parameters).error?.issues[0];
  if (issue === undefined) return parameters;
  const name = issue.path.join('.');
  const hint = name === 'action' ? `Actions are ${auditActionNames.join(', ')}.` : null;
  throw new CliError(`--${name}: ${issue.message}`, hint, exit.usage);
}

/** Held at once where only the newest are wanted. */
const mostHeld = 10_000;

function countOf(limit: string): number {
  const count = /^\d{1,5}$/.test(limit) ? Number(limit) : 0;
  if (count < 1 || count > mostHeld)
    throw new CliError(`--limit ${limit} is not a number from 1 to ${mostHeld}`, null, exit.usage);
  return count;
}

async function* entriesOfServer(
  client: Client,
  parameters: Readonly<Record<string, string>>,
  most: number | null,
): AsyncGenerator<AuditEntry> {
  const newest: AuditEntry[] = [];
  const order = most === null ? 'oldest' : 'newest';
  for (let after: string | null = ''; after !== null && newest.length < (most ?? 1); ) {
    const limit = Math.min(1000, (most ?? 1000) - newest.length);
    const query = { ...parameters, order, limit: String(limit), ...(after !== '' && { after }) };
    const page: Awaited<ReturnType<typeof ask>> = await ask(query);
    if (most === null) yield* page.items;
    else newest.push(...page.items);
    after = page.next;
  }
  yield* newest.reverse();

  async function ask(query: Readonly<Record<string, string>>) {
    try {
      return await client.get(`/v1/audit?${new URLSearchParams(query)}`, auditPage);
    } catch (error) {
      // What people gave was checked before: a server that refuses a parameter is one that does not know it.
      if (!(error instanceof Refusal) || error.status !== 400) throw error;
      const given = Object.entries({ ...parameters, ...(most !== null && { limit: String(most) }) });
      const options = given.map(([name, value]) => ` --${name} ${shellWord(value)}`).join('');
      throw new CliError(
        'this server is older than this command line: it does not search its audit log',
        `Upgrade it, or search an export of it:\n  assay audit export audit.jsonl\n  assay audit list --from audit.jsonl${options}`,
        exit.error,
        error,
      );
    }
  }
}

function* entriesOfFile(
  path: string,
  filter: AuditFilter,
  most: number | null,
  io: CliIo,
): Generator<AuditEntry> {
  const newest: AuditEntry[] = [];
  let count = 0;
  let fault: unknown = null;
  const progress = createProgress(io);
  try {
    for (const line of readAuditLog(path)) {
      if (!('entry' in line)) continue;
      progress(line.entry.seq);
      if (!isSelected(line.entry, filter)) continue;
      if (most === null) yield line.entry;
      else newest[count++ % most] = line.entry;
    }
  } catch (error) {
    fault = error;
  }
  const oldest = most === null ? 0 : count % Math.max(1, newest.length);
  yield* [...newest.slice(oldest), ...newest.slice(0, oldest)];
  if (fault === null) return;
  if (!(fault instanceof UnreadableAuditLog)) throw fault;
  const text = `${path} cannot be read to its end: ${fault.message}; what was read before is shown`;
  throw new CliError(
    text,
    `Is it an export, a database or a backup?\n  assay audit verify ${shellWord(path)}`,
    exit.error,
    fault,
  );
}

const partSize = 500;

/** Entries in parts; those read before a fault are one, too. */
async function* inParts(
  entries: AsyncIterable<AuditEntry> | Iterable<AuditEntry>,
): AsyncGenerator<readonly (AuditEntry & { readonly time: string })[]> {
  let part: (AuditEntry & { readonly time: string })[] = [];
  try {
    for await (const entry of entries) {
      part.push({ time: timeOf(entry.at), ...entry });
      if (part.length < partSize) continue;
      yield part;
      part = [];
    }
  } catch (error) {
    if (part.length > 0) yield part;
    throw error;
  }
  yield part;
}

/** RFC 3339; a damaged entry may have a number that is no moment. */
function timeOf(at: number): string {
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : String(at);
}

function headings(isWide: boolean): readonly string[] {
  return [...(isWide ? ['SEQ'] : []), 'TIME', 'ACTOR', 'ACTION', 'SUBJECT', 'WHAT'];
}

const shownLength = 100;

function row(
  { time, seq, actor, action, subject, code, detail }: AuditEntry & { readonly time: string },
  isWide: boolean,
): readonly string[] {
  const members = Object.entries(detail).flatMap(([name, value]) =>
    value === null || value === '' ? [] : [`${name}=${valueText(value)}`],
  );
  const what = [...(code === null ? [] : [code]), ...members].join(' ') || '-';
  const short = withShortDigests(what);
  const cut = short.length > shownLength ? `${short.slice(0, shownLength - 1)}…` : short;
  return [...(isWide ? [String(seq)] : []), utc(time), actor, action, subject || '-', isWide ? what : cut];
}

function valueText(value: string | number | boolean): string {
  return typeof value === 'string' && /[\s"=]/.test(value) ? JSON.stringify(value) : String(value);
}
