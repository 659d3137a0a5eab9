import type { Command } from 'commander';
import type { PolicyHistoryOptions, PolicyStepOptions } from '../commands/policy-history.ts';
import type { CliContext } from '../context.ts';
import type { PolicyCheckOptions } from '../offline/policy/command.ts';
import type { SimulateOptions } from '../offline/policy/simulate.ts';
import { consentOptions, type Formatted, outputOption, type ToFile, utcOption } from './option.ts';

export function addPolicies(program: Command, context: CliContext, get: Command): void {
  const policies = program.command('policy').alias('policies').description('check, try and draft policies');
  for (const show of [policies.command('show'), get.command('policy')])
    show
      .description('show the policy in force, with its revision; or an earlier one, as its file was')
      .option('--revision <revision>', 'one that was in force, by its first digits (assay policy history)')
      .addOption(outputOption('table', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
      .option('-f, --file <file>', 'write its text to this file, byte for byte')
      .action(async ({ revision, ...options }: Formatted & ToFile & { readonly revision?: string }) => {
        if (revision === undefined)
          return (await import('../commands/policy-in-force.ts')).showPolicy(context, options);
        const { showPolicyRevision } = await import('../commands/policy-history.ts');
        return showPolicyRevision(context, { revision, ...options });
      });
  policies
    .command('history')
    .description('list the policies that were in force: since when, until when, and how each came into force')
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (options: PolicyHistoryOptions) =>
      (await import('../commands/policy-history.ts')).showPolicyHistory(context, options),
    );
  policies
    .command('diff')
    .argument('[a]', 'default: the one before the one in force')
    .argument('[b]', 'default: the one in force')
    .description('compare the texts of two policies that were in force; exits with 10 if they differ')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (a: string | undefined, b: string | undefined, { output }: Formatted) =>
      (await import('../offline/policy/diff.ts')).showPolicyDiff(context, a, b, output),
    );
  const step = (command: Command) =>
    consentOptions(command)
      .requiredOption('--reason <text>', 'the reason, for the audit log')
      .addOption(outputOption('table', 'json', 'yaml'));
  step(
    policies
      .command('rollback <revision>')
      .summary('put an earlier policy in force')
      .description(
        'put an earlier policy in force, until the text of the policy file or directory changes; says which nodes that would change, and asks first',
      ),
  ).action(async (revision: string, options: PolicyStepOptions) =>
    (await import('../commands/policy-history.ts')).rollBackPolicy(context, revision, options),
  );
  step(
    policies
      .command('allow <revision>')
      .summary('let a policy come into force that makes many nodes untrusted')
      .description(
        'let one policy come into force, however many nodes it makes untrusted: at once if it was refused, else at the next reload; asks first',
      ),
  ).action(async (revision: string, options: PolicyStepOptions) =>
    (await import('../commands/policy-history.ts')).allowPolicy(context, revision, options),
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
    .action(async (file: string, options: PolicyCheckOptions) =>
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
