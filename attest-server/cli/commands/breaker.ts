import { type ClusterView, clusterView, type HoldView, holdAnswer } from '../../api/cluster-api.ts';
import { type Advice, shellWord } from '../../wire/advice.ts';
import { printable } from '../../wire/printable.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { exit } from '../exit.ts';
import { tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { withShortDigests } from '../readable.ts';
import { counted } from '../sentence.ts';
import { table } from '../table.ts';

export interface BreakerListOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

/** `breaker list`: what fails alike by drift, and what waits; exits 12 where taints wait for a person. */
export async function listBreaker(
  { io, server, exitWith }: CliContext,
  { output: format, utc = false }: BreakerListOptions,
): Promise<void> {
  const { failing } = await (await server()).get('/v1/cluster', clusterView);
  const items = failing.map((each) => ({ ...each, next: waitsForPerson(each) ? nextFor(each) : null }));
  await print(io, format, { items, next: null }, () => failingText(failing, io.now(), utc));
  if (format === 'table')
    for (const { group, code, next, waiting } of items)
      if (next !== null)
        io.err(`${counted(waiting, 'node')} of ${printable(group)} by ${printable(code)}. ${next}\n`);
  exitWith(failing.some(waitsForPerson) ? exit.held : exit.ok);
}

export interface HoldOptions {
  readonly reason: string;
  readonly code?: string;
  readonly output: Format;
}

/** `breaker hold [GROUP...]`: what waits goes on waiting, whatever the breaker is set to do after a time. */
export async function holdBreaker(
  { io, server }: CliContext,
  groups: readonly string[],
  { reason, code = undefined, output: format }: HoldOptions,
): Promise<void> {
  const body = { groups, code: code ?? null, reason };
  const held = await (await server()).post('/v1/cluster/breaker/hold', body, holdAnswer);
  await print(io, format, held, () => failingText(held.items, io.now(), false));
}

/** `breaker release [GROUP...]`: what waits is tainted; first it says how many, and asks. */
export async function releaseBreaker(
  { io, server }: CliContext,
  groups: readonly string[],
  options: HoldOptions & Consent,
): Promise<void> {
  const { reason, code, output: format } = options;
  const ask = questions(io, options);
  const client = await server();
  const meant = async () => {
    const { failing } = await client.get('/v1/cluster', clusterView);
    return failing
      .filter((each) => groups.length === 0 || groups.includes(each.group))
      .filter((each) => code === undefined || each.code === code)
      .filter(({ decision }) => decision === 'open' || decision === 'held');
  };
  const text = async () => {
    const holds = await meant();
    const waiting = holds.reduce((sum, hold) => sum + hold.waiting, 0);
    return `${failingText(holds, io.now(), false)}${counted(waiting, 'node')} would be tainted: no new pod starts there\n`;
  };
  if (options.dryRun === true) {
    const items = await meant();
    return print(io, format, { items }, () => failingText(items, io.now(), false));
  }
  io.err(await orWhyNot(text));
  await ask('Let these taints come?');
  const body = { groups, code: code ?? null, reason };
  const released = await client.post('/v1/cluster/breaker/release', body, holdAnswer);
  await print(io, format, released, () => failingText(released.items, io.now(), false));
}

/** Whether it waits for a person: no time ends that. */
export function waitsForPerson({ waiting, decision }: HoldView): boolean {
  return waiting > 0 && (decision === 'open' || decision === 'held');
}

/** The commands with which a person looks at them, and decides. */
function nextFor({ group, code }: HoldView): Advice {
  const words = `${shellWord(group)} --code ${shellWord(code)}`;
  return [
    'See which they are:',
    `  assay get nodes --group ${shellWord(group)} --reason ${shellWord(code)}`,
    'If they are bad, let the taints come:',
    `  assay breaker release ${words} --reason "they are bad"`,
    'If they are not, keep the taints back until references or policy are right:',
    `  assay breaker hold ${words} --reason "the reference is late"`,
  ].join('\n');
}

function failingText(failing: ClusterView['failing'], now: number, absolute: boolean): string {
  if (failing.length === 0) return 'no taint waits, and no nodes fail the same way\n';
  const rows = failing.map(({ group, code, value, nodes, tainted, waiting, decision, at, by, reason }) => [
    group,
    code,
    value === null ? '-' : withShortDigests(value),
    ...[nodes, tainted, waiting].map(String),
    decision ?? '-',
    tableTime(at, now, absolute),
    by === null ? '-' : `${by}: ${reason ?? ''}`,
  ]);
  return table(['GROUP', 'CODE', 'VALUE', 'NODES', 'TAINTED', 'WAITING', 'DECISION', 'SINCE', 'BY'], rows);
}
