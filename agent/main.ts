import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { start } from 'node-tpm2/run';
import { ConfigError } from '../attest-server/settings/config-error.ts';
import type { Resident } from './resident.ts';

/** Composition root of `assay-agent`; the only file of the agent that reads the environment. */
const readerVariable = 'ASSAY_AGENT_READS_SETTINGS';
const residents: ReadonlySet<string> = new Set<Resident['program']>(['run', 'tpm-broker', 'netfilter']);

/**
 * The program that the command line names, with its settings, as a process of its own reads them: what reads command lines
 * and settings would stay in memory for as long as the node runs. That process also says what is wrong with them.
 * @returns null if nothing is left to do; its exit code is that of this process
 */
async function readResident(): Promise<Resident | null> {
  const reader = start(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, [readerVariable]: '1' },
  });
  const chunks: Buffer[] = [];
  reader.stdio[3]?.on('data', (chunk) => chunks.push(chunk));
  const [exitCode, signal] = await once(reader, 'close');
  if (exitCode === null) throw new Error(`reading the command line and settings was ended by ${signal}`);
  process.exitCode = exitCode;
  return exitCode === 0 && chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString('utf8')) : null;
}

try {
  const isReader = process.env[readerVariable] !== undefined;
  if (isReader || !process.argv.slice(2).some((word) => residents.has(word))) {
    const { runCommandLine } = await import('./command-line.ts');
    await runCommandLine(process.env, (resident) => writeSync(3, JSON.stringify(resident)));
  } else {
    const resident = await readResident();
    const { runResident } = await import('./resident.ts');
    if (resident !== null) await runResident(resident, process.env);
  }
} catch (error) {
  process.stderr.write(`assay-agent: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof ConfigError ? 2 : 1;
}
