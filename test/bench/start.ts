import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { start } from 'node-tpm2/run';
import { assayFlags } from '../../swtpm-fixtures/set-up/agent-flags.ts';
import { startMeasured } from './measured-server.ts';
import { populate } from './population.ts';
import { sized } from './sized.ts';

const root = join(import.meta.dirname, '../..');
const rounds = sized(15, 1);
/** Nodes that are enrolled. */
const farm = sized(500, 5);

/** Medians of whole processes, wall time in ms; `node` is one that does nothing. */
interface StartFigures {
  readonly node: number;
  readonly source: ProgramFigures;
  readonly dist: ProgramFigures;
}
interface ProgramFigures {
  readonly assay_version: number;
  readonly assay_why: number;
  /** Of a farm of many nodes. */
  readonly assay_get_nodes: number;
  readonly agent_version: number;
  readonly server_version: number;
}

/** How long a person waits for each program: from source, and compiled, as its launcher starts it. All are started in turn, so load hits all. */
export async function benchStart(): Promise<StartFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-bench-start-'));
  try {
    const stateDir = join(folder, 'state');
    await populate(stateDir, farm, 'p256');
    await using server = await startMeasured({ kind: 'assay', stateDir, challengeEveryMs: 60_000 });
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, server.ca);
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    const dist = join(folder, 'dist');
    await wall([join(root, 'swtpm-fixtures/set-up/build.ts'), '--out', dist], {}, 0);
    const env = {
      XDG_CACHE_HOME: folder,
      ASSAY_SERVER: `https://127.0.0.1:${server.apiPort}`,
      ASSAY_TOKEN_FILE: join(stateDir, 'reader.token'),
      ASSAY_CA_FILE: caFile,
    };
    return await measure(
      {
        assay: join(root, 'attest-server/cli/assay.mjs'),
        agent: join(root, 'agent/main.ts'),
        server: join(root, 'attest-server/main.ts'),
      },
      {
        assay: join(dist, 'assay.js'),
        agent: join(dist, 'assay-agent.js'),
        server: join(dist, 'assay-server.js'),
      },
      env,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

interface Programs {
  readonly assay: string;
  readonly agent: string;
  readonly server: string;
}

async function measure(
  source: Programs,
  dist: Programs,
  env: Readonly<Record<string, string>>,
): Promise<StartFigures> {
  const cases = [
    [['--eval', '0'], 0],
    ...[
      { ...source, flags: [] },
      { ...dist, flags: assayFlags },
    ].flatMap(({ assay, flags, agent, server }) => [
      [[...flags, assay, '--version'], 0] as const,
      // The node is enrolled and has never been proven: pending.
      [[...flags, assay, 'why', 'node-0'], 11] as const,
      [[...flags, assay, 'get', 'nodes'], 0] as const,
      [[agent, '--version'], 0] as const,
      [[server, '--version'], 0] as const,
    ]),
  ] as const;
  // The first start of each fills the cache of what Node compiles.
  for (const [args, code] of cases) await wall(args, env, code);
  const taken: number[][] = cases.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (const [index, [args, code]] of cases.entries()) taken[index]?.push(await wall(args, env, code));
  const [node = 0, ...others] = taken.map(median);
  const figures = (first: number): ProgramFigures => ({
    assay_version: others[first] ?? 0,
    assay_why: others[first + 1] ?? 0,
    assay_get_nodes: others[first + 2] ?? 0,
    agent_version: others[first + 3] ?? 0,
    server_version: others[first + 4] ?? 0,
  });
  return { node, source: figures(0), dist: figures(5) };
}

/** From the start of a Node with these arguments to its end, in ms. @throws Error for another exit code */
function wall(args: readonly string[], env: Readonly<Record<string, string>>, code: number): Promise<number> {
  const before = performance.now();
  const child = start(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'ignore'] });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (found) => {
      if (found === code) resolve(performance.now() - before);
      else reject(new Error(`${args.join(' ')} ended with ${found}`));
    });
  });
}

function median(values: readonly number[]): number {
  return Math.round(values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0);
}
