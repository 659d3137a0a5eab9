import { resolve } from 'node:path';
import { type ReferenceView, referenceDeleted, referenceView } from '../../api/api.ts';
import { listOf } from '../../api/list.ts';
import type { NodeView } from '../../api/node-api.ts';
import { isAnnounced, longestAnnouncement, type Reference } from '../../formats/reference.ts';
import { shellWord } from '../../wire/advice.ts';
import { printable } from '../../wire/printable.ts';
import { type Client, Refusal } from '../client.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { type EndingOptions, endOf, relative, utc } from '../moment.ts';
import { computeReference } from '../offline/compute/command.ts';
import { type Format, print } from '../output.ts';
import { checkAllFound, readNamedNodes, readNodes } from '../read-nodes.ts';
import { counted, listed } from '../sentence.ts';
import { table } from '../table.ts';
import { pathOf } from './reference.ts';

export interface ExpectOptions extends EndingOptions {
  readonly group?: string;
  readonly reference?: string;
  readonly kernel?: string;
  readonly initrd: readonly string[];
  readonly via: string;
  readonly secureBoot: boolean;
  readonly reason?: string;
  readonly end?: string;
  readonly utc?: boolean;
  readonly output: Format;
}

const references = listOf(referenceView);

/** `expect NODE...|--group G`: announces a change; `--end R` takes it back; without either it lists what is announced. */
export async function expectChange(
  context: CliContext,
  names: readonly string[],
  options: ExpectOptions,
): Promise<void> {
  const { group, end } = options;
  checkOptions(names, options);
  if (end !== undefined) return endAnnouncement(context, end, options);
  if (names.length === 0 && group === undefined) return listAnnounced(context, options);
  const { io, server } = context;
  const { reason = '', output: format } = options;
  const ends = endOf('expect', options, longestAnnouncement);
  // Files are read, and refused, before the server is asked for anything.
  const computed =
    options.kernel === undefined ? null : kernelReference(options, (path) => resolve(io.cwd, path));
  const client = await server();
  const { its, nodes } = await whom(client, names, group);
  if (options.reference !== undefined) await checkGroup(client, options.reference, its);
  const made = options.reference === undefined ? await stage(client, computed, its) : null;
  const asked = { reason, ...ends, ...(names.length > 0 && { nodes: nodes.map(({ name }) => name) }) };
  const name = made ?? options.reference ?? '';
  const announced = await client
    .post(`${pathOf(name)}/announce`, asked, referenceView)
    .catch(async (error: unknown) => {
      if (made === null) throw error;
      if (error instanceof Refusal && error.code === 'role_denied') throw forAnother(made, names, options);
      await remove(client, made);
      throw error;
    });
  await print(io, format, announced, () => `${sentence(announced, names)}${changedBefore(nodes)}`);
}

function checkOptions(
  names: readonly string[],
  { group, reference, kernel, initrd, reason, end, until, for: duration }: ExpectOptions,
): void {
  const usage = (text: string, hint: string) => new CliError(text, hint, exit.usage);
  const isAsked = names.length > 0 || group !== undefined;
  if (end !== undefined && isAsked)
    throw usage('--end takes one announcement back', 'Name the reference alone: --end REFERENCE.');
  if (names.length > 0 && group !== undefined)
    throw usage('names of nodes and --group do not go together', 'Give one of them.');
  if (reference !== undefined && kernel !== undefined)
    throw usage('--reference and --kernel do not go together', 'Give one of them.');
  if (kernel === undefined && initrd.length > 0) throw usage('--initrd goes with --kernel', 'Give both.');
  const isAbout = [reference, kernel, reason, until, duration].some((given) => given !== undefined);
  if (!isAsked && isAbout) throw usage('expect needs nodes or --group', 'Say which nodes should change.');
  if (isAsked && reason === undefined) throw usage('expect needs --reason', 'It goes into the audit log.');
}

/** The nodes, and the one group that they are in. @throws CliError if they are in several, or unknown */
async function whom(
  client: Client,
  names: readonly string[],
  group: string | undefined,
): Promise<{ readonly its: string; readonly nodes: readonly NodeView[] }> {
  if (group !== undefined) return { its: group, nodes: await readNodes(client, { group }) };
  const found = await readNamedNodes(client, names);
  checkAllFound(found);
  const groups = [...new Set(found.nodes.map((node) => node.group ?? ''))];
  const [its = ''] = groups;
  if (groups.length !== 1 || its === '')
    throw new CliError(
      groups.length > 1
        ? `these nodes are of several groups: ${listed(groups)}`
        : 'no verdict says yet which group these nodes are in',
      groups.length > 1
        ? 'Announce the change for one group after the other.'
        : 'Announce the change to their group: --group.',
    );
  return { its, nodes: found.nodes };
}

/** @throws CliError for one of another group: its announcement would be moved to nodes that it says nothing of. */
async function checkGroup(client: Client, name: string, its: string): Promise<void> {
  const { items } = await client.get('/v1/references', references);
  const found = items.find((item) => item.name === name);
  if (found === undefined || found.group === its) return;
  throw new CliError(
    `reference ${printable(name)} is for group ${printable(found.group)}, and says nothing of nodes of ${printable(its)}`,
    'Announce one that is for this group. See which there are:\n  assay reference list --kind boot',
  );
}

/** The error of a server that wants two persons: what was made stays, so that the second one can announce it. */
function forAnother(made: string, names: readonly string[], options: ExpectOptions): CliError {
  const { group, until, reason = '' } = options;
  const whose = group === undefined ? names.map(shellWord).join(' ') : `--group ${shellWord(group)}`;
  const ending = until === undefined ? `--for ${options.for}` : `--until ${until}`;
  return new CliError(
    `reference ${printable(made)} is staged, and is not announced: what makes nodes trusted needs two persons here (approvals.separate)`,
    `Ask another person to check it and type:\n  assay expect ${whose} --reference ${made} ${ending} --reason ${shellWord(reason)}`,
  );
}

function kernelReference(
  { kernel = '', initrd, via, secureBoot }: ExpectOptions,
  at: (path: string) => string,
): Reference {
  const files = { kernel: [kernel], initrd, loader: [], via, secureBoot };
  return computeReference({ name: 'expected', group: 'expected', state: 'staged', ...files }, at);
}

/** A staged reference of the announced files, or of nothing: then any change is expected. */
async function stage(client: Client, computed: Reference | null, group: string): Promise<string> {
  const { items } = await client.get('/v1/references', references);
  const name = freeName(`expected-${group}`, items);
  const none = { version: 1, kind: 'boot', expires: null, pcrs: {}, components: [], events: [] } as const;
  const sent = { ...(computed ?? none), name, group, state: 'staged' };
  return (await client.post('/v1/references/import', sent, referenceView)).name;
}

function freeName(wanted: string, taken: readonly { readonly name: string }[]): string {
  const base = wanted.slice(0, 56);
  for (let count = 1; ; count++) {
    const name = `${base}-${count}`;
    if (!taken.some((one) => one.name === name)) return name;
  }
}

async function remove(client: Client, name: string): Promise<void> {
  await client.post(`${pathOf(name)}/delete`, { reason: 'the change is not announced' }, referenceDeleted);
}

async function endAnnouncement(
  { io, server }: CliContext,
  name: string,
  { output: format }: ExpectOptions,
): Promise<void> {
  const ended = await (await server()).delete(`${pathOf(name)}/announce`, referenceView);
  await print(
    io,
    format,
    ended,
    () => `reference ${printable(ended.name)} is no longer announced; it is ${ended.state}\n`,
  );
}

async function listAnnounced({ io, server }: CliContext, options: ExpectOptions): Promise<void> {
  const { output: format, utc: absolute = false } = options;
  const { items } = await (await server()).get('/v1/references', references);
  const announced = items.filter((item) => isAnnounced(item, io.now()));
  await print(io, format, { items: announced, next: null }, () =>
    announced.length === 0
      ? 'no change is announced\n'
      : table(
          ['REFERENCE', 'GROUP', 'NODES', 'UNTIL', 'BY', 'REASON'],
          announced.map(({ name, group, announced: its }) => [
            name,
            group,
            its?.nodes == null ? 'all' : String(its.nodes.length),
            its === undefined ? '-' : absolute ? utc(its.until) : relative(its.until, io.now()),
            its?.by ?? '-',
            its?.reason ?? '-',
          ]),
        ),
  );
}

function sentence({ name, group, announced }: ReferenceView, names: readonly string[]): string {
  const whose = names.length === 0 ? `all nodes of group ${printable(group)}` : listed(names);
  return `until ${utc(announced?.until ?? null)} a change of ${whose} is expected: reference ${printable(name)}\n`;
}

/** The warning on changes before the announcement: it covers them, too, and whoever announces must know. */
function changedBefore(nodes: readonly NodeView[]): string {
  const before = nodes.filter(
    ({ state, reasons }) =>
      state === 'untrusted' && reasons.every((one) => one.severity !== 'fail' || one.class === 'drift'),
  );
  if (before.length === 0) return '';
  const those = listed(before.map(({ name }) => name));
  return `${counted(before.length, 'node')} changed before this was announced (${those}): what is like the announced change counts as expected there, too\n`;
}
