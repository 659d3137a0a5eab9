/**
 * The command assay: `tree` says how it is typed, `commands` what it does, `offline` what needs no server, and
 * `completion` is for shells. `confirm` asks before a step.
 */

import { type Argument, Command, CommanderError } from 'commander';
import { version } from '../version.ts';
import { printable } from '../wire/printable.ts';
import { addCommands } from './commands.ts';
import type { CliContext } from './context.ts';
import { CliError, exit, exitMeanings } from './exit.ts';
import type { CliIo } from './io.ts';

/** Runs one command line (without program names) and gives its exit code. */
export async function runCli(args: readonly string[], io: CliIo): Promise<number> {
  let code: number = exit.ok;
  const exitWith = (chosen: number) => {
    code = chosen;
  };
  const program = createProgram(io, exitWith, args[0]);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    return report(error, io);
  }
}

/**
 * Every command with its arguments and options.
 * @param exitWith told the exit code of the command that ran
 * @param first as of `addCommands`
 */
export function createProgram(io: CliIo, exitWith: CliContext['exitWith'], first?: string): Command {
  const program = new Command('assay')
    .description('Shows which nodes have proven what they booted, and why others have not')
    .version(version)
    .exitOverride()
    .configureHelp({ subcommandTerm })
    .configureOutput({
      writeOut: io.out,
      writeErr: io.err,
      outputError: (text, write) => write(printableLines(text)),
    })
    .option('--server <url>', 'address of the API, https://HOST:8444 (ASSAY_SERVER)')
    .option('--token-file <file>', 'file that holds your token (ASSAY_TOKEN_FILE)')
    .option('--ca-file <file>', "PEM of the server's authority (ASSAY_CA_FILE)")
    .option('--context <name>', 'a named context of $XDG_CONFIG_HOME/assay/config.json')
    .addHelpText(
      'after',
      [
        '\nEach command has --help. Exit codes:',
        ...exitMeanings.map(({ code, meaning }) => `  ${String(code).padStart(2)}  ${meaning}`),
      ].join('\n'),
    );
  addCommands(program, { version, io, server: () => openServer(program, io), exitWith }, first);
  return program;
}

/** Without aliases and options, which each command's own help has. */
function subcommandTerm(command: Command): string {
  return [command.name(), ...command.registeredArguments.map(shownArgument)].join(' ');
}

function shownArgument(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

async function openServer(program: Command, io: CliIo): ReturnType<CliContext['server']> {
  return (await import('./connect.ts')).connect(program.opts(), io);
}

function report(error: unknown, io: CliIo): number {
  // Help and version end by an exception too; commander has written its own message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage;
  if (error instanceof CliError) {
    // A hint has lines, as the advice of the server has.
    const hint = error.hint === null ? [] : error.hint.split('\n').map((line) => `  ${line}`);
    io.err(printableLines([`assay: ${error.message}`, ...hint, ''].join('\n')));
    return error.exitCode;
  }
  const text = error instanceof Error ? error.message : String(error);
  io.err(printableLines(`assay: ${text}\n  This is a fault of assay; please report it.\n`));
  return exit.error;
}

function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}
