import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { pino } from 'pino';
import { addAuditKey } from './audit-key-command.ts';
import { type ServerConfig, serverConfig } from './config.ts';
import { readConfigFile } from './protocol/config-file.ts';
import { startServer } from './server.ts';
import { startFault } from './start-fault.ts';
import { version } from './version.ts';

const program = new Command('assay-server')
  .description('Verifies the evidence of nodes, decides by policy, and answers operators.')
  .version(version)
  .option(
    '--config <file>',
    'configuration (YAML; README.md lists the keys); environment variables win over it',
  )
  .option('--state-dir <dir>', 'where keys, tokens and the store are kept; default: /var/lib/assay')
  .option('--policy <name>', 'observe, strict, or a policy file (YAML); default: observe')
  .option('--log-level <level>', 'fatal, error, warn, info, debug, trace, silent')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .action(run);
addAuditKey(program, async (command) => (await configOf(command.optsWithGlobals())).stateDir);

try {
  await program.parseAsync();
} catch (error) {
  fail(error);
}

interface Flags {
  readonly config?: string;
  readonly stateDir?: string;
  readonly policy?: string;
  readonly logLevel?: string;
}

async function configOf(flags: Flags): Promise<ServerConfig> {
  const { config: path, stateDir, policy, logLevel } = flags;
  const file = path === undefined ? null : await readConfigFile(path, () => readFile(path, 'utf8'));
  return serverConfig(file, process.env, { stateDir, policy, logLevel });
}

/** Whatever was opened is closed by now: the process ends by itself. */
function fail(error: unknown): void {
  const { text, exitCode } = startFault(error);
  process.stderr.write(`assay-server: ${text}\n`);
  process.exitCode = exitCode;
}

async function run(flags: Flags): Promise<void> {
  const config = await configOf(flags);
  const logger = pino({ level: config.logLevel, base: null }, pino.destination(2));
  const server = await startServer(config, { logger });
  logger.info(
    { agents: server.agentPort, api: server.apiPort, metrics: server.metricsPort, ca: server.caFile },
    'the server listens',
  );
  process.on('SIGHUP', () => {
    server.reload().then(
      () => logger.info('everything was read again'),
      () => logger.error('not everything was read again: the lines above say what stays as it was'),
    );
  });
  let ending = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      if (ending) return;
      ending = true;
      server.close().then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({ err: error }, 'the server did not end cleanly');
          process.exit(1);
        },
      );
    });
}
