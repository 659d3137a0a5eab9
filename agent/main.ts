import { readFile } from 'node:fs/promises';
import { Command, CommanderError } from 'commander';
import { pino } from 'pino';
import { ConfigError } from '../attest-server/protocol/config-error.ts';
import type { AgentConfig } from './config.ts';
import { runAgent } from './run.ts';
import { readVersion } from './version.ts';

/** Composition root of `assay-agent`; the only file of the agent that reads the environment. */
const program = new Command('assay-agent')
  .description('Reports what this node booted, sealed by its TPM, to an Assay server')
  .version(readVersion())
  .option('--log-level <level>', 'fatal, error, warn, info, debug, trace, silent; default: info')
  .exitOverride();

program
  .command('run')
  .description('connect to the server and answer its challenges until stopped')
  .option(
    '--config <file>',
    'configuration (YAML; README.md lists the keys); variables (ASSAY_SERVERS, ASSAY_NODE, …) win over it',
  )
  .exitOverride()
  .action(async ({ config: file }: { readonly config?: string }) => {
    const { logLevel } = program.opts<{ readonly logLevel?: string }>();
    await run(await readConfig(file, logLevel));
  });

async function run(config: AgentConfig): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  const changes = new EventTarget();
  process.on('SIGHUP', () => changes.dispatchEvent(new Event('changed')));
  const logger = pino(
    { level: config.logLevel, base: { node: config.node }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  await runAgent(config, { logger, signal: stop.signal, changes });
}

async function readConfig(path: string | undefined, logLevel: string | undefined): Promise<AgentConfig> {
  // Loads zod and the protocol, as the rest of `run` does: 0.12 s of CPU time, for which --version does not wait.
  const { buildConfig } = await import('./config.ts');
  if (path === undefined) return buildConfig(null, process.env, { logLevel });
  const { readConfigFile } = await import('../attest-server/protocol/config-file.ts');
  const file = await readConfigFile(path, () => readFile(path, 'utf8'));
  return buildConfig(file, process.env, { logLevel });
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    process.stderr.write(`assay-agent: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof ConfigError ? 2 : 1;
  }
}
