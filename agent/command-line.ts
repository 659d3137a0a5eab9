import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Argument, Command, CommanderError, Option } from 'commander';
import { ConfigError } from '../attest-server/settings/config-error.ts';
import type { ConfigFile, LogLevel, Settings } from '../attest-server/settings/settings.ts';
import { createLogger } from './logger.ts';
import type { Resident } from './resident.ts';
import { stopSignal } from './stop-signal.ts';
import type { UnlockConfig } from './unlock/config.ts';
import type { UnlockDependencies } from './unlock/run.ts';
import { readVersion } from './version.ts';

/**
 * Does what a command line of `assay-agent` says, and leaves the exit code in the process.
 * @param stay takes a program that is to stay, with its settings: it runs elsewhere
 * @throws ConfigError with every fault; AgentError, ToolError, each with its next step
 */
export async function runCommandLine(
  environment: Readonly<Record<string, string | undefined>>,
  stay: (resident: Resident) => void,
): Promise<void> {
  const program = new Command('assay-agent')
    .description('Proves to an Assay server what this node booted, signed by its TPM')
    .version(readVersion())
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace, silent; default: info')
    .exitOverride();
  const logLevel = () => program.opts<{ readonly logLevel?: string }>().logLevel;

  program
    .command('run')
    .description('connect to the server and answer its challenges until stopped')
    .option(
      '--config <file>',
      'configuration (YAML; docs/reference-configuration.md lists the keys); variables (ASSAY_AGENT_SERVERS, ASSAY_AGENT_NODE, …) win over it',
    )
    .exitOverride()
    .action(async ({ config: path }: { readonly config?: string }) => {
      // Loads zod and the protocol, as the rest of `run` does: 0.12 s of CPU time, for which --version does not wait.
      const { agentValues, configOf } = await import('./config.ts');
      const file = path === undefined ? null : await readConfig(path);
      const settings = agentValues({ file, environment, flags: { logLevel: logLevel() } });
      const logger = createLogger(settings.logLevel, { node: settings.node });
      logger.info({ code: 'configuration', version: readVersion(), file: path ?? null, settings }, 'starts');
      stay({ program: 'run', config: configOf(settings) });
    });

  program
    .command('tpm-broker')
    .description(
      'hold the TPM for the agent: answer quote, readPCRs, readPublic, readCertificates and activate on a Unix socket until stopped (docs/privileges.md)',
    )
    .option('--socket <path>', 'where to listen (ASSAY_TPM_BROKER_SOCKET); default: /run/assay/tpm.sock')
    .option('--tcti <tpm>', 'the TPM (ASSAY_TPM_BROKER_TCTI); default: device:/dev/tpmrm0')
    .option('--health-socket <path>', 'where `assay-agent health` asks it (ASSAY_TPM_BROKER_HEALTH_SOCKET)')
    .exitOverride()
    .action(async (flags: BrokerFlags) => {
      const { brokerConfig } = await import('./tpm-broker/config.ts');
      stay({ program: 'tpm-broker', config: brokerConfig(environment, { ...flags, logLevel: logLevel() }) });
    });

  program
    .command('inspect')
    .description(
      `read what only root can, and write it to /run/assay/inspect, where the agent reads it. Run as root.
disk: headers of encrypted volumes without any key, device-mapper tables, swap, names of keys that were left behind.
boot: copies of the files that GRUB reads, and digests of initrds.`,
    )
    .addArgument(new Argument('[parts...]', 'default: all').choices(['disk', 'boot']))
    .option('--sysroot <folder>', 'instead of `/`', '/')
    .option('--out <folder>', 'where it writes; default: run/assay/inspect below the sysroot')
    .option('--group <name>', 'whose members may read it; `root` for an agent in a pod', 'assay')
    .option('--initrd', 'boot: also copy the booted initrd if not everybody may read it')
    .addOption(new Option('-o, --output <format>', 'print what was seen, as numbers').choices(['json']))
    .addHelpText(
      'after',
      '\nExits with 0 once everything is written, 1 if a part is not, 2 for a wrong command line.',
    )
    .exitOverride()
    .action(async (parts: readonly string[], flags: InspectFlags) => {
      const { runInspect } = await import('./inspect/inspect.ts');
      const { agentSettings } = await import('./config.ts');
      const { resolveSettings } = await import('../attest-server/settings/settings.ts');
      const { logLevel: level } = resolveSettings(
        { logLevel: agentSettings.logLevel },
        { file: null, environment, flags: { logLevel: logLevel() } },
        () => [],
      );
      process.exitCode = await runInspect({ ...flags, parts }, createLogger(level, {}), process.stdout);
      // A program that waits for a device that hangs must not keep this one.
      setTimeout(() => process.exit(), 1_000).unref();
    });

  program
    .command('netfilter')
    .description(
      'read the firewall rules for the agent, and tell it when they change, on a Unix socket until stopped (docs/privileges.md)',
    )
    .option('--socket <path>', 'where to listen (ASSAY_NETFILTER_SOCKET); default: /run/assay/netfilter.sock')
    .option(
      '--netns <file>',
      "network namespace whose rules are read, such as /proc/1/ns/net (ASSAY_NETFILTER_NETNS); default: this program's own",
    )
    .option('--health-socket <path>', 'where `assay-agent health` asks it (ASSAY_NETFILTER_HEALTH_SOCKET)')
    .exitOverride()
    .action(async (flags: NetfilterFlags) => {
      const { netfilterConfig } = await import('./netfilter/config.ts');
      stay({
        program: 'netfilter',
        config: netfilterConfig(environment, { ...flags, logLevel: logLevel() }),
      });
    });

  program
    .command('gate')
    .description(
      'wait until the server affirms identity and boot of this boot; its unit runs before kubelet (docs/gate.md)',
    )
    .option(
      '--config <file>',
      'configuration (YAML; docs/reference-configuration.md lists the keys); variables (ASSAY_GATE_SERVERS, …) win over it',
    )
    .option('--timeout <seconds>', 'hold kubelet for good after this time (ASSAY_GATE_TIMEOUT)')
    .addHelpText(
      'after',
      `
Exits with 0 if identity and boot are affirmed, or the node is only observed; 12 if its timeout has passed and it holds;
20 if an operator lets the node go on, 21 if its timeout has passed and the policy does; 1 for a fault, 2 for a wrong
command line or configuration.`,
    )
    .exitOverride()
    .action(async ({ config: path, timeout }: { readonly config?: string; readonly timeout?: string }) => {
      const { gateConfigOf, gateValues } = await import('./gate/config.ts');
      const { runGate } = await import('./gate/run.ts');
      const flags = { logLevel: logLevel(), timeout };
      await early(
        path,
        (file) => gateValues({ file, environment, flags }),
        (settings, given) => runGate(gateConfigOf(settings), { ...given, now: () => performance.now() }),
      );
    });

  const unlocking = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .option(
        '--config <file>',
        'configuration (YAML; docs/reference-configuration.md lists the keys); variables (ASSAY_UNLOCK_SERVERS, …) win over it',
      )
      .exitOverride();
  /** Runs one of the programs of disk keys, with the settings that they share. */
  const unlock = async (
    flags: UnlockFlags,
    work: (config: UnlockConfig, dependencies: UnlockDependencies) => Promise<number>,
  ) => {
    const { unlockConfigOf, unlockValues } = await import('./unlock/config.ts');
    const { config: path, volume, timeout } = flags;
    const given = { logLevel: logLevel(), volume, timeout };
    await early(
      path,
      (file) => unlockValues({ file, environment, flags: given }),
      (settings, dependencies) => work(unlockConfigOf(settings), { ...dependencies, environment }),
    );
  };

  unlocking(
    'unlock',
    'hand the key of one volume to systemd-cryptsetup, which connects to the socket that systemd made for this program (docs/disk-keys.md)',
  )
    .option('--volume <uuid>', 'LUKS UUID of the volume (ASSAY_UNLOCK_VOLUME)')
    .option('--timeout <seconds>', 'give up after this time (ASSAY_UNLOCK_TIMEOUT); default: 300')
    .addHelpText(
      'after',
      '\nExits with 0 once the key is handed over, 1 if there is none or for a fault, 2 for a wrong command line or configuration.',
    )
    .action(async (flags: UnlockFlags) =>
      unlock(flags, async (config, dependencies) => {
        const { runUnlock } = await import('./unlock/run.ts');
        return runUnlock(config, dependencies);
      }).catch(async (error: unknown) => {
        if (error instanceof ConfigError) {
          const { refuseFor } = await import('./unlock/run.ts');
          await refuseFor(error, { environment, print });
        }
        throw error;
      }),
    );

  unlocking(
    'cap',
    'end the right of this boot to disk keys, then look at the open volumes again, before runtime and kubelet. Run as root (docs/disk-keys.md)',
  )
    .addHelpText(
      'after',
      '\nExits with 0 once the boot is capped, 1 if a volume had to be closed or for a fault, 2 for a wrong command line or configuration.',
    )
    .action(async (flags: UnlockFlags) =>
      unlock(flags, async (config, dependencies) => {
        const { runCap } = await import('./unlock/cap.ts');
        return runCap(config, dependencies);
      }),
    );

  unlocking(
    'format',
    'format a blank device as a volume that `assay disk init` registered, once. Run as root (docs/disk-keys.md)',
  )
    .requiredOption('--volume <uuid>', 'its LUKS UUID, as `assay disk init` printed it')
    .requiredOption('--device <path>', 'the blank device or partition')
    .addHelpText(
      'after',
      '\nExits with 0 once the device is formatted and the server knows it, 1 for a fault, 2 for a wrong command line or configuration.',
    )
    .action(async (flags: UnlockFlags & { readonly device: string }) =>
      unlock(flags, async (config, dependencies) => {
        const { formatVolume } = await import('./unlock/format.ts');
        await formatVolume(config, flags.device, dependencies);
        return 0;
      }),
    );

  unlocking(
    'rotate',
    'replace the key of an open volume, if the server has the next one: `assay disk rotate`. Its unit runs before the cap (docs/disk-keys.md)',
  )
    .option('--volume <uuid>', 'LUKS UUID of the volume (ASSAY_UNLOCK_VOLUME)')
    .requiredOption('--device <path>', 'the device or partition that has it')
    .addHelpText(
      'after',
      '\nExits with 0 once the next key is in its place, or if there is none, 1 for a fault, 2 for a wrong command line or configuration.',
    )
    .action(async (flags: UnlockFlags & { readonly device: string }) =>
      unlock(flags, async (config, dependencies) => {
        const { rotateKey } = await import('./unlock/rotate.ts');
        await rotateKey(config, flags.device, dependencies);
        return 0;
      }),
    );

  program
    .command('health')
    .description(
      'ask a program of Assay on this machine whether it is alive, as a kubelet does: `run`, `tpm-broker` or `netfilter`',
    )
    .option('--socket <path>', "its healthSocket; default: the agent's (ASSAY_AGENT_HEALTH_SOCKET)")
    .option('--ready', 'whether it is ready, too: the agent is connected and judged, the broker has a TPM')
    .addHelpText(
      'after',
      '\nExits with 0 if so, 1 if not, or if no answer comes within two seconds, 2 for a wrong command line.',
    )
    .exitOverride()
    .action(async ({ socket, ready = false }: { readonly socket?: string; readonly ready?: boolean }) => {
      const asked = socket ?? environment.ASSAY_AGENT_HEALTH_SOCKET ?? '';
      if (asked === '') program.error('error: name the socket: --socket or ASSAY_AGENT_HEALTH_SOCKET');
      const { askHealth } = await import('./health/ask-health.ts');
      const { isAlive, isReady, text } = await askHealth(asked, 2_000);
      process.stdout.write(`${text}\n`);
      process.exitCode = isAlive && (isReady || !ready) ? 0 : 1;
    });

  program
    .command('doctor')
    .description(
      'check whether this node has what its agent needs: TPM, logs, firewall, clock, servers; changes nothing',
    )
    .option('--config <file>', 'configuration of `run`; default: /etc/assay/agent.yaml, if it exists')
    .addOption(new Option('-o, --output <format>', 'for programs').choices(['json']))
    .addHelpText(
      'after',
      '\nRun it as root or as the agent’s user. Exits with 0 if nothing failed, 1 if something did, 2 for a wrong command line.',
    )
    .exitOverride()
    .action(async ({ config: path, output }: { readonly config?: string; readonly output?: string }) => {
      const { examine } = await import('./doctor/doctor.ts');
      const { checksText, hasFailed } = await import('../attest-server/wire/checks.ts');
      const file = path ?? (existsSync(usualConfig) ? usualConfig : null);
      const checks = await examine(file, readConfig, environment, stopSignal());
      process.stdout.write(
        output === 'json' ? `${JSON.stringify({ checks }, null, 2)}\n` : checksText(checks),
      );
      process.exitCode = hasFailed(checks) ? 1 : 0;
      // A device that hangs must not keep this program.
      setTimeout(() => process.exit(), 1_000).unref();
    });

  program
    .command('prepare-state')
    .description(
      'prepare folders of a pod, so that each of its programs can make a private one in them: an init container runs this as root, without any capability',
    )
    .argument('<paths...>', 'of volumes, such as that of the state')
    .option('--user <uid>', 'the user of the agent', '65532')
    .exitOverride()
    .action(async (paths: readonly string[], { user }: { readonly user: string }) => {
      if (!/^\d{1,10}$/.test(user)) program.error('error: --user: not the number of a user');
      const { prepareState } = await import('./prepare-state.ts');
      for (const path of paths) process.stdout.write(`${await prepareState(path, Number(user))}\n`);
    });

  program
    .command('schema')
    .description('print the JSON schema of a configuration file, for editors')
    .addArgument(new Argument('[program]', 'whose file').choices(['run', 'gate', 'unlock']).default('run'))
    .exitOverride()
    .action(async (name: string) => {
      const { settingsJsonSchema } = await import('../attest-server/settings/settings-schema.ts');
      const settings = async (): Promise<Settings> => {
        if (name === 'gate') return (await import('./gate/config.ts')).gateSettings;
        if (name === 'unlock') return (await import('./unlock/config.ts')).unlockSettings;
        return (await import('./config.ts')).agentSettings;
      };
      const schema = settingsJsonSchema(`Configuration of assay-agent ${name}`, await settings());
      process.stdout.write(`${JSON.stringify(schema, null, 2)}\n`);
    });

  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  }
}

/** Runs a program that the boot waits for, and leaves its exit code in the process. */
async function early<Values extends { readonly logLevel: LogLevel; readonly node: string }>(
  path: string | undefined,
  read: (file: ConfigFile | null) => Values,
  work: (settings: Values, given: EarlyDependencies) => Promise<number>,
): Promise<void> {
  const settings = read(path === undefined ? null : await readConfig(path));
  const logger = createLogger(settings.logLevel, { node: settings.node });
  logger.info({ code: 'configuration', version: readVersion(), file: path ?? null, settings }, 'starts');
  process.exitCode = await work(settings, { logger, signal: stopSignal(), print });
  // A TPM that hangs must not keep this program.
  setTimeout(() => process.exit(), 1_000).unref();
}

const print = (line: string) => void process.stdout.write(line);

type EarlyDependencies = Pick<UnlockDependencies, 'logger' | 'signal' | 'print'>;

const usualConfig = '/etc/assay/agent.yaml';

interface UnlockFlags {
  readonly config?: string;
  readonly volume?: string;
  readonly timeout?: string;
}

interface BrokerFlags {
  readonly socket?: string;
  readonly tcti?: string;
  readonly healthSocket?: string;
}

interface InspectFlags {
  readonly sysroot: string;
  readonly out?: string;
  readonly group: string;
  readonly initrd?: boolean;
  readonly output?: string;
}

interface NetfilterFlags {
  readonly socket?: string;
  readonly netns?: string;
  readonly healthSocket?: string;
}

/** Reads the configuration; the YAML parser is loaded only if there is a file. */
async function readConfig(path: string): Promise<ConfigFile> {
  const { readConfigFile } = await import('../attest-server/settings/config-file.ts');
  return readConfigFile(path, () => readFile(path, 'utf8'));
}
