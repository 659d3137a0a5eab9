import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import type { CheckOptions } from '../offline/policy/command.ts';
import type { SimulateOptions } from '../offline/policy/simulate.ts';
import { type Formatted, outputOption, type ToFile } from './option.ts';

export function addPolicies(program: Command, get: Command, context: CliContext): void {
  const policies = program.command('policy').alias('policies').description('check, try and draft policies');
  for (const show of [policies.command('show'), get.command('policy')])
    show
      .description('show the policy in force, with its revision')
      .addOption(outputOption('table', 'json', 'yaml', 'name'))
      .action(async ({ output }: Formatted) =>
        (await import('../commands/policy-in-force.ts')).showPolicy(context, output),
      );
  policies
    .command('check <file>')
    .description(
      'check whether a policy is valid: reports each fault with file, line and field, and what looks doubtful; - is standard input',
    )
    .option('--references <dir>', 'also report which of these references count for one node only')
    .option(
      '--latched',
      'also ask the server whether its latch lets this policy come into force; exits with 12 if not',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: CheckOptions) =>
      (await import('../offline/policy/command.ts')).checkPolicyFile(context, file, options),
    );
  policies
    .command('schema')
    .description('print the JSON schema of policy files, for editors and other programs')
    .action(async () => (await import('../offline/policy/command.ts')).printPolicySchema(context));
  policies
    .command('simulate <file>')
    .description(
      'show which nodes a policy would change, and why; takes a file, strict or observe; stores nothing',
    )
    .option('--bundles <dir>', 'use exported bundles instead of the evidence that the server keeps')
    .option('--references <dir>', 'with --bundles: folder of reference values; default: those in each bundle')
    .option('--all', 'also show nodes that would not change')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: SimulateOptions) =>
      (await import('../offline/policy/simulate.ts')).simulatePolicy(context, file, options),
    );
  policies
    .command('suggest')
    .description('draft a policy as YAML from what was observed: machines that boot alike become a group')
    .option('--bundles <dir>', 'use exported bundles instead of the evidence that the server keeps')
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .action(async (options: ToFile & { readonly bundles?: string }) =>
      (await import('../offline/policy/suggest.ts')).draftPolicy(context, options),
    );
}
