import { resolve } from 'node:path';
import { type SimulatedNodeView, simulateAnswer, turnsUntrusted } from '../../../protocol/policy-api.ts';
import type { Client } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readFile } from '../../read-file.ts';
import { readSimulation, type Simulated, simulationText } from '../../simulation.ts';
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

/** `policy simulate FILE`: exits 10 where a node would turn untrusted. */
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
  const items: readonly Simulated[] =
    options.bundles === undefined
      ? await simulatedByServer(await server(), policy.text, file)
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
  await print(io, format, answer, () => simulationText(items, all));
  exitWith(untrusted.length > 0 ? exit.untrusted : exit.ok);
}

async function simulatedByServer(
  client: Client,
  policy: string,
  file: string,
): Promise<readonly SimulatedNodeView[]> {
  const body = { policy, file: file.slice(-255) };
  return (await readSimulation(client, '/v1/policy/simulate', body, simulateAnswer)).items;
}
