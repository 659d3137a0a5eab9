import { resolve } from 'node:path';
import type { z } from 'zod';
import { simulateAnswer } from '../../../api/policy-api.ts';
import { policyLabel } from '../../../formats/policy-label.ts';
import { canLoseTrust, losesTooMany, turnsUntrusted } from '../../../formats/trust-loss.ts';
import { printable } from '../../../wire/printable.ts';
import type { Client } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readFile } from '../../read-file.ts';
import { readNodes } from '../../read-nodes.ts';
import { withShortDigests } from '../../readable.ts';
import { counted, listed } from '../../sentence.ts';
import {
  leasedNodes,
  nextBootText,
  readSimulation,
  type ShownSimulation,
  simulationText,
} from '../../simulation.ts';
import { bundlesIn } from '../files-in.ts';
import { readReferences } from '../reference-file.ts';
import { type BreakerAnswer, breakerAnswer } from './breaker-answer.ts';
import { simulateBundle } from './simulate-bundle.ts';
import { placed, readPolicy } from './text.ts';

export interface SimulateOptions {
  readonly bundles?: string;
  readonly references?: string;
  readonly all?: boolean;
  readonly output: Format;
}

/** `policy simulate FILE`: exits 10 where a node would turn untrusted, 12 where the latch would refuse the policy. */
export async function simulatePolicy(
  { io, server, exitWith }: CliContext,
  file: string,
  options: SimulateOptions,
): Promise<void> {
  const { output: format, all = false } = options;
  if (options.references !== undefined && options.bundles === undefined)
    throw new CliError(
      '--references goes with --bundles: the server uses its own references',
      'Add --bundles.',
      exit.usage,
    );
  const policy = readPolicy(io, file);
  const at = (path: string) => resolve(io.cwd, path);
  const references = options.references === undefined ? null : readReferences(at(options.references));
  const asked =
    options.bundles === undefined ? await simulatedByServer(await server(), policy.text, file) : null;
  const items: readonly ShownSimulation[] =
    asked?.items ??
    bundlesIn(at(options.bundles ?? '')).map((path) =>
      simulateBundle(readFile(path).toString('utf8'), path, policy, references, io.now()),
    );
  const untrusted = items.filter(turnsUntrusted);
  const changed = items.filter((item) => item.changed);
  const latched = asked?.latched ?? [];
  const refused = asked === null ? null : refusedFor(asked);
  const breaker = asked === null ? null : breakerAnswer(asked.items);
  const firstUse = asked === null ? [] : await markedByFirstUse(await server(), asked.items);
  const leased = asked === null ? new Set<string>() : await leasedNodes(await server());
  const answer = {
    policy: policyLabel(policy),
    nodes: items.length,
    changed: changed.length,
    untrusted: untrusted.length,
    latched,
    refused,
    breaker,
    firstUse,
    items: all || format !== 'table' ? items : changed,
  };
  await print(io, format, answer, () => {
    for (const fault of latched) io.err(`${printable(placed(file, fault))}\n`);
    return `${simulationText(items, all)}${nextBootText(items, leased)}${refusedText(refused)}${breakerText(breaker)}${firstUseText(firstUse)}`;
  });
  if (latched.length > 0) exitWith(exit.held);
  else exitWith(untrusted.length > 0 ? exit.untrusted : exit.ok);
}

async function simulatedByServer(
  client: Client,
  policy: string,
  file: string,
): Promise<z.output<typeof simulateAnswer>> {
  const body = { policy, file: file.slice(-255) };
  return readSimulation(client, '/v1/policy/simulate', body, simulateAnswer);
}

/** Nodes that would be marked, although nobody vouched for their TPMs: each was merely the first under its name. */
async function markedByFirstUse(
  client: Client,
  items: z.output<typeof simulateAnswer>['items'],
): Promise<readonly string[]> {
  const marked = new Set(
    items.filter(({ after }) => (after?.mode ?? 'observe') !== 'observe').map(({ node }) => node),
  );
  if (marked.size === 0) return [];
  return (await readNodes(client))
    .filter(({ name, bound }) => bound === 'first-use' && marked.has(name))
    .map(({ name }) => name);
}

interface RefusedShare {
  readonly untrusted: number;
  readonly trusted: number;
  /** The share of them that a policy may make untrusted. */
  readonly share: number;
}

/** Null if the server would take this policy. */
function refusedFor({ items, refusedShare: share }: z.output<typeof simulateAnswer>): RefusedShare | null {
  const trusted = items.filter(canLoseTrust);
  const untrusted = trusted.filter(turnsUntrusted).length;
  return losesTooMany(untrusted, trusted.length, share)
    ? { untrusted, trusted: trusted.length, share }
    : null;
}

function refusedText(refused: RefusedShare | null): string {
  if (refused === null) return '';
  const { untrusted, trusted } = refused;
  return `the server would refuse this policy: it would make ${untrusted} of ${counted(trusted, 'trusted node')} untrusted (breaker.refusePolicyPercent); assay policy allow can still put it in force after that\n`;
}

function firstUseText(names: readonly string[]): string {
  if (names.length === 0) return '';
  return `of those that would be marked, nobody has vouched for the TPM of ${counted(names.length, 'node')} bound by first use: ${listed(names)} (assay enrol approve --all)\n`;
}

/** The breaker's answer to it. */
function breakerText(answer: BreakerAnswer | null): string {
  if (answer === null || answer.tainted + answer.waiting === 0) return '';
  const { tainted, waiting, held } = answer;
  const sum = `${counted(tainted, 'node')} would be tainted at once; the taints of ${waiting} would wait`;
  const lines = held.map(
    ({ group, code, value, nodes }) =>
      `the breaker would hold ${counted(nodes, 'node')} of ${printable(group)}: ${code}${value === null ? '' : ` (${withShortDigests(printable(value))})`}`,
  );
  return [sum, ...lines].map((line) => `${line}\n`).join('');
}
