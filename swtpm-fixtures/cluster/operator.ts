import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, start, ToolError } from 'node-tpm2/run';
import type { RunningServer } from '../../attest-server/server.ts';
import { endOfProgram } from '../ended-program.ts';
import type { Narrator } from './narrator.ts';

/** The person of the story: does everything through the command line, as a reader would. */
export interface Operator {
  /** Runs `assay` with these arguments; gives what it printed. @throws ToolError where it failed */
  assay(...args: readonly string[]): Promise<string>;
  /** Runs `assay why` on a node that may be untrusted, which its exit code says; gives what it printed. */
  why(node: string): Promise<string>;
  /** Whether `assay` with these arguments ends with 12: something waits for a person. @throws ToolError for other faults */
  isHeld(...args: readonly string[]): Promise<boolean>;
  /** The names of all that are enrolled. */
  nodes(): Promise<readonly string[]>;
  importKeys(pins: readonly { node: string; ekDigest: string }[]): Promise<void>;
  /** Gives the file that holds the token. */
  createJoinToken(node: string): Promise<string>;
}

/** Milliseconds of one command: a machine on which much else runs may be slow. */
const longest = 180_000;

/** Writes `cli.json`, by which `npx assay` finds this server. @param program `assay`, as Node is given it */
export async function createOperator(
  dir: string,
  server: RunningServer,
  program: string,
  narrator: Narrator,
): Promise<Operator> {
  const connection = {
    server: `https://127.0.0.1:${server.apiPort}`,
    tokenFile: join(dir, 'admin.token'),
    caFile: server.caFile,
  };
  await writeFile(join(dir, 'cli.json'), `${JSON.stringify(connection, null, 2)}\n`, { mode: 0o600 });
  const flags = [
    '--server',
    connection.server,
    '--token-file',
    connection.tokenFile,
    '--ca-file',
    connection.caFile,
  ];
  const assay = async (...args: readonly string[]) => {
    using _wait = narrator.waiting(`assay ${args.slice(0, 2).join(' ')}`, longest);
    const { stdout } = await run(process.execPath, [program, ...args, ...flags], {
      timeoutMs: longest,
      maxOutputBytes: 16 * 1024 * 1024,
    });
    return stdout.toString('utf8');
  };
  return {
    assay,
    async why(node) {
      using _wait = narrator.waiting('assay why', longest);
      const child = start(process.execPath, [program, 'why', node, ...flags], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      return (await endOfProgram(child, 'assay why')).said;
    },
    async isHeld(...args) {
      try {
        await assay(...args);
        return false;
      } catch (error) {
        if (error instanceof ToolError && error.exitCode === 12) return true;
        throw error;
      }
    },
    async nodes() {
      const names = await assay('get', 'nodes', '-o', 'name');
      return names.split('\n').filter((name) => name !== '');
    },
    async importKeys(pins) {
      const file = join(dir, 'inventory.csv');
      await writeFile(file, pins.map(({ node, ekDigest }) => `${node},${ekDigest}\n`).join(''));
      await assay('ek', 'import', file);
    },
    async createJoinToken(node) {
      const file = join(dir, `${node}.join-token`);
      await writeFile(file, await assay('join-token', 'create', '--node', node, '--ttl', '1h'), {
        mode: 0o600,
      });
      return file;
    },
  };
}
