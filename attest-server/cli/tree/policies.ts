import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import type { CheckOptions } from '../offline/policy/command.ts';
import type { SimulateOptions } from '../offline/policy/simulate.ts';
import { type Formatted, outputOption, type ToFile } from './option.ts';

export function addPolicies(program: Command, get: Command, context: CliContext): void {
  const policies = program
    .command('policy')
    .alias('policies')
    .description('what is wanted of nodes: check it, try it, draft it');
  for (const show of [policies.command('show'), get.command('policy')])
    show
      .description('the policy in force, with its revision')
      .addOption(outputOption('table', 'json', 'yaml', 'name'))
      .action(async ({ output }: Formatted) =>
        (await import('../commands/policy-in-force.ts')).showPolicy(context, output),
      );
  policies
    .command('check <file>')
    .description(
      'is this policy valid? Names every fault with file, line and field, and what is doubtful; - is standard input',
    )
    .option('--references <dir>', 'also say which of these references count for one node alone')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: CheckOptions) =>
      (await import('../offline/policy/command.ts')).checkPolicyFile(context, file, options),
    );
  policies
    .command('schema')
    .description('the JSON schema of policy files, for editors and other programs')
    .action(async () => (await import('../offline/policy/command.ts')).printPolicySchema(context));
  policies
    .command('simulate <file>')
    .description('whom would this policy change, and why? A file, or strict or observe; nothing is stored')
    .option('--bundles <dir>', 'try it on exported bundles instead of the evidence that the server keeps')
    .option('--references <dir>', "with --bundles: folder of reference values; default: each bundle's own")
    .option('--all', 'show the nodes too that do not change')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: SimulateOptions) =>
      (await import('../offline/policy/simulate.ts')).simulatePolicy(context, file, options),
    );
  policies
    .command('suggest')
    .description('draft a policy from what was observed, as YAML: machines that start alike become a group')
    .option('--bundles <dir>', 'draft it from exported bundles instead of the evidence that the server keeps')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .action(async (options: ToFile & { readonly bundles?: string }) =>
      (await import('../offline/policy/suggest.ts')).draftPolicy(context, options),
    );
}
