import { readFile } from 'node:fs/promises';
import { Command, CommanderError, Option } from 'commander';
import { pino } from 'pino';
import { type AgentConfig, buildConfig, ConfigError, logLevels } from './config.ts';
import { runAgent } from './run.ts';
import { readVersion } from './version.ts';

/** Composition root of `assay-agent`; the only file of the agent that reads the environment. */
const program = new Command('assay-agent')
  .description('Reports what this node booted, sealed by its TPM, to an Assay server')
  .version(readVersion())
  .addOption(new Option('--log-level <level>', 'how much to log').choices(logLevels))
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
    const config = buildConfig(file === undefined ? null : await readYaml(file), {
      ...process.env,
      ...(logLevel && { ASSAY_LOG_LEVEL: logLevel }),
    });
    await run(config);
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

async function readYaml(file: string): Promise<unknown> {
  const { parse } = await import('yaml');
  try {
    return parse(await readFile(file, 'utf8'), { maxAliasCount: 0 });
  } catch (cause) {
    const text = `cannot be read: ${cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : ''}`;
    throw new ConfigError([{ key: file, text }]);
  }
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof ConfigError) {
    const lines = error.faults.map(({ key, text }) => `  ${key}: ${text}\n`);
    const count = lines.length === 1 ? 'a fault' : `${lines.length} faults`;
    process.stderr.write(`assay-agent: the configuration has ${count}:\n${lines.join('')}`);
    process.exitCode = 2;
  } else {
    process.stderr.write(`assay-agent: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
