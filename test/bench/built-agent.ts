import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { agentFlags } from '../../swtpm-fixtures/set-up/agent-flags.ts';

/** Builds the programs there. @returns argv of `assay-agent` as it is installed: compiled, and as its launcher starts it */
export async function builtAgent(dist: string): Promise<readonly [string, ...string[]]> {
  const build = join(import.meta.dirname, '../../swtpm-fixtures/set-up/build.ts');
  await run(process.execPath, [build, '--out', dist], { timeoutMs: 300_000, maxOutputBytes: 1_000_000 });
  return [process.execPath, ...agentFlags, join(dist, 'assay-agent.js')];
}
