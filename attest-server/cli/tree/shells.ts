import { Argument, type Command } from 'commander';
import type { Shell } from '../completion/scripts.ts';
import type { CliContext } from '../context.ts';

/** Adds the commands by which shells know the command line. */
export function addShells(program: Command, context: CliContext): void {
  program
    .command('completion')
    .summary('print a completion script for your shell')
    .description(
      'print a script with which your shell completes commands, options, and names of nodes and references',
    )
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell) =>
      (await import('../completion/scripts.ts')).printCompletion(program, context, shell),
    );
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .helpOption(false)
    .action(async (words: readonly string[]) =>
      (await import('../completion/complete.ts')).complete(program, context, words),
    );
}
