import { Command, Option } from 'commander';
import type { serverValues } from './config.ts';
import type { ReadSettings, StartFlags } from './read-settings.ts';
import { version } from './version.ts';

// What an action needs is loaded by that action: --version takes 0.13 s, with everything it was 1 s.
const program = new Command('assay-server')
  .description('Verifies the evidence of nodes, decides by policy, and answers operators.')
  .version(version)
  .option(
    '--config <file>',
    'configuration (YAML; docs/reference-configuration.md lists the keys); environment variables win over it',
  )
  .option('--state-dir <dir>', 'folder of keys, tokens and the store; default: /var/lib/assay')
  .option('--policy <name>', 'observe, strict, or a policy file (YAML); default: observe')
  .option('--log-level <level>', 'fatal, error, warn, info, debug, trace, silent')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .action(run);
program
  .command('audit-key')
  .description('make a new audit key; only for when audit.key is lost and there is no copy of it')
  .requiredOption('--start-anew', 'make a new key with a new origin; each agent reports that once')
  .requiredOption('--reason <text>', 'the reason, for the audit log')
  .action(async ({ reason }: { readonly reason: string }, command: Command) => {
    const { configOf } = await import('./config.ts');
    const config = configOf((await settingsOf(command.optsWithGlobals())).values);
    const { startAuditLogAnew } = await import('./commands/audit-key.ts');
    await startAuditLogAnew(config, reason);
  });
program
  .command('check')
  .description(
    'check settings, policy and the files that they name, without starting: nothing is written, nothing listens',
  )
  .option('--here', 'the server is to run on this machine: a file that is missing is a fault', false)
  .option(
    '--store [copy]',
    'read the whole database in place of the settings: that of the state folder, also while a server runs, or this copy',
  )
  .addOption(new Option('-o, --output <format>', 'as one JSON object').choices(['json']))
  .addHelpText(
    'after',
    '\nExits with 0 if a server would accept them, 2 if they have a fault. With --store: 0 if the database is intact, 1 if it is damaged or cannot be read.',
  )
  .action(async ({ here, store, output }: CheckOptions, command: Command) => {
    if (store !== undefined) {
      const { checkedStore } = await import('./commands/check-store.ts');
      // A copy needs no settings: it may lie on any machine.
      const settings = store === true ? (await settingsOf(command.optsWithGlobals())).values : null;
      process.exitCode = await checkedStore(store === true ? null : store, settings, output ?? 'text');
      return;
    }
    const settings = await settingsOf(command.optsWithGlobals()).catch((error: unknown) =>
      error instanceof Error ? error : new Error(String(error)),
    );
    const { checkConfiguration, checkedText } = await import('./commands/check.ts');
    const checked = await checkConfiguration(settings, here);
    process.stdout.write(output === 'json' ? `${JSON.stringify(checked)}\n` : checkedText(checked));
    process.exitCode = checked.valid ? 0 : 2;
  });
program
  .command('schema')
  .description('print the JSON schema of the configuration file, for editors')
  .action(async () => {
    const { formerServerSettings, serverSettings } = await import('./config.ts');
    const { settingsJsonSchema } = await import('./settings/settings-schema.ts');
    const title = 'Configuration of assay-server';
    const schema = settingsJsonSchema(title, serverSettings, formerServerSettings);
    process.stdout.write(`${JSON.stringify(schema, null, 2)}\n`);
  });

/** With what it starts, once that is known. */
let started: ReturnType<typeof serverValues> | null = null;
try {
  await program.parseAsync();
} catch (error) {
  await fail(error);
}

interface CheckOptions {
  readonly here: boolean;
  /** True: that of the state folder. */
  readonly store?: string | true;
  readonly output?: 'json';
}

async function settingsOf(flags: StartFlags): Promise<ReadSettings> {
  const { readSettings } = await import('./read-settings.ts');
  return readSettings(flags, process.env);
}

/** Whatever was opened is closed by now: the process ends by itself. */
async function fail(error: unknown): Promise<void> {
  const { startFault } = await import('./start-fault.ts');
  const { text, exitCode } = startFault(error, started);
  process.stderr.write(`assay-server: ${text}\n`);
  process.exitCode = exitCode;
}

async function run(flags: StartFlags): Promise<void> {
  const { values: settings, ignored } = await settingsOf(flags);
  started = settings;
  const { configOf } = await import('./config.ts');
  const { createLogger } = await import('./settings/logger.ts');
  const { keepHeapSmall } = await import('./heap.ts');
  keepHeapSmall();
  const { startServer } = await import('./server.ts');
  const { cloudEnvironment } = await import('./enrolment/cloud-environment.ts');
  const logger = createLogger(settings.logLevel, null);
  logger.info({ code: 'configuration', version, file: flags.config ?? null, settings }, 'the server starts');
  for (const setting of ignored)
    logger.warn(
      { code: 'ignored_setting', ...setting },
      'the setting says nothing any more: take it out, the next version refuses it',
    );
  const server = await startServer(configOf(settings), {
    logger,
    cloudEnvironment: cloudEnvironment(process.env),
  });
  logger.info(
    { agents: server.agentPort, api: server.apiPort, metrics: server.metricsPort, ca: server.caFile },
    'the server listens',
  );
  process.on('SIGHUP', () => {
    server.reload().then(
      () => logger.info('everything was read again'),
      () =>
        logger.error(
          'some parts were not read again: the lines above say which ones, and their old values stay in force',
        ),
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
