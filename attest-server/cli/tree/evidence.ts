import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import type { BootDiffOptions } from '../offline/boot/diff.ts';
import type { EventLogOptions } from '../offline/boot/eventlog.ts';
import type { VerifyOptions } from '../offline/verify/command.ts';
import { nodeArgument, outputOption, type ToFile, utcOption } from './option.ts';

export function addEvidence(program: Command, context: CliContext): void {
  program
    .command('bundle')
    .description('export the evidence behind a verdict')
    .addArgument(nodeArgument())
    .option(
      '--evidence <digest>',
      'of an earlier verdict: the first 12 digits or more, as `assay history -o wide` shows them; default: the latest',
    )
    .option('-f, --file <file>', 'write it there instead of standard output')
    .action(async (node: string, options: ToFile & { readonly evidence?: string }) =>
      (await import('../commands/bundle.ts')).exportBundle(context, node, options),
    );
  program
    .command('verify <bundle>')
    .description('judge an exported bundle again, offline; - is standard input')
    .option('--policy <file>', "a policy file, or strict or observe; default: the bundle's own")
    .option('--references <dir>', "folder of reference values; default: the bundle's own")
    .option('--trust-roots <dir>', 'folder of *.pem: authorities that endorse TPMs; or builtin')
    .addOption(outputOption('table', 'json', 'yaml', 'junit', 'sarif'))
    .addOption(utcOption())
    .action(async (bundle: string, options: VerifyOptions) =>
      (await import('../offline/verify/command.ts')).judgeBundle(context, bundle, options),
    );
  program
    .command('eventlog <file>')
    .description('parse and replay a TCG event log, offline; - is standard input')
    .option('--userspace <file>', 'also what systemd measured later: its tpm2-measure.log of the same boot')
    .addOption(outputOption('table', 'json'))
    .action(async (file: string, options: EventLogOptions) =>
      (await import('../offline/boot/eventlog.ts')).showEventLog(context, file, options),
    );
  const boot = program
    .command('boot')
    .description('boots: what a machine measured from its firmware to its kernel');
  boot
    .command('diff <a> [b]')
    .description(
      'what differs between two boots, the good one first: files (a firmware log, an exported bundle), or nodes at the server, NODE or NODE@DIGEST (12 digits do) as `assay history -o wide` shows it; of a NODE alone: its latest boot beside the last one that was trusted',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (a: string, b: string | undefined, options: BootDiffOptions) =>
      (await import('../offline/boot/diff.ts')).showBootDiff(context, a, b, options),
    );
}
