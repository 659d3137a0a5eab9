import { resolve } from 'node:path';
import type { Policy } from '../../../policy/policy.ts';
import { type SimulatedNodeView, simulateAnswer } from '../../../protocol/policy-api.ts';
import type { NodeState } from '../../../protocol/verdict.ts';
import type { Client } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { printable } from '../../printable.ts';
import { readFile } from '../../read-file.ts';
import { table } from '../../table.ts';
import { bundlesIn } from '../files-in.ts';
import { readReferences } from '../reference-file.ts';
import { simulateBundle } from './simulate-bundle.ts';
import { readPolicy } from './text.ts';

export interface SimulateOptions {
  readonly bundles?: string;
  readonly references?: string;
  readonly all?: boolean;
  readonly output: Format;
}

/** What is shown of a node, wherever it was judged. */
interface Simulated {
  readonly node: string;
  readonly before: { readonly state: NodeState } | null;
  readonly after: {
    readonly state: NodeState;
    readonly reasons: readonly { readonly code: string; readonly text: string }[];
  } | null;
  readonly changed: boolean;
  readonly note: string | null;
}

/** `policy simulate FILE`: exits 10 where a node would turn untrusted. */
export async function simulatePolicy(
  { io, server, exitWith }: CliContext,
  file: string,
  options: SimulateOptions,
): Promise<void> {
  const { output: format, all = false } = options;
  if (options.references !== undefined && options.bundles === undefined)
    throw new CliError(
      '--references is for bundles: the server judges by its own',
      'Add --bundles.',
      exit.usage,
    );
  const policy = readPolicy(io, file);
  const at = (path: string) => resolve(io.cwd, path);
  const references = options.references === undefined ? null : readReferences(at(options.references));
  const items: readonly Simulated[] =
    options.bundles === undefined
      ? await askServer(await server(), policy, file)
      : bundlesIn(at(options.bundles)).map((path) =>
          simulateBundle(readFile(path).toString('utf8'), path, policy, references, io.now()),
        );
  const untrusted = items.filter(turnsUntrusted);
  const changed = items.filter((item) => item.changed);
  const answer = {
    policy: `${policy.name}@${policy.revision}`,
    nodes: items.length,
    changed: changed.length,
    untrusted: untrusted.length,
    items: all || format !== 'table' ? items : changed,
  };
  await print(io, format, answer, () => page(items, all));
  exitWith(untrusted.length > 0 ? exit.untrusted : exit.ok);
}

async function askServer(client: Client, { text }: Policy, file: string): Promise<SimulatedNodeView[]> {
  const items: SimulatedNodeView[] = [];
  let next: string | null = null;
  do {
    const body = { policy: text, file: file.slice(-255), ...(next !== null && { after: next }) };
    const answer: { items: SimulatedNodeView[]; next: string | null } = await client.post(
      '/v1/policy/simulate',
      body,
      simulateAnswer,
    );
    items.push(...answer.items);
    next = answer.next;
  } while (next !== null);
  return items;
}

/** True where the policy would make a node untrusted that is not so now. */
function turnsUntrusted({ before, after }: Simulated): boolean {
  return after?.state === 'untrusted' && before?.state !== 'untrusted';
}

function page(items: readonly Simulated[], all: boolean): string {
  const shown = all ? items : items.filter(({ changed }) => changed);
  const rows = shown.map(({ node, before, after, note }) => [
    node,
    before?.state ?? '-',
    after?.state ?? '-',
    note ?? (after?.reasons.map(({ code }) => code).join(', ') || '-'),
  ]);
  const why = shown.flatMap(({ node, changed, after }) =>
    changed && after !== null && after.state !== 'trusted' && after.reasons[0] !== undefined
      ? [`${printable(node)}: ${after.reasons[0].code}: ${printable(after.reasons[0].text)}\n`]
      : [],
  );
  const changed = items.filter((item) => item.changed).length;
  const untrusted = items.filter(turnsUntrusted).length;
  const unjudged = items.filter(({ after }) => after === null).length;
  const sums = [
    `${changed} of ${items.length} nodes would change`,
    ...(untrusted > 0 ? [`${untrusted} would turn untrusted`] : []),
    ...(unjudged > 0 ? [`${unjudged} cannot be judged (--all says why)`] : []),
  ];
  const body = rows.length === 0 ? '' : `${table(['NODE', 'NOW', 'THEN', 'REASONS'], rows)}\n`;
  return `${body}${why.join('')}${sums.join('; ')}\n`;
}
