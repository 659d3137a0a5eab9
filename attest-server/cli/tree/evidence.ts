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
      'digest of earlier evidence, 12 digits or more, from `assay history -o wide`; default: the latest',
    )
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .action(async (node: string, options: ToFile & { readonly evidence?: string }) =>
      (await import('../commands/bundle.ts')).exportBundle(context, node, options),
    );
  program
    .command('verify <bundle>')
    .summary('judge an exported bundle again, offline')
    .description(
      'judge an exported bundle again, offline, or each one in a folder, with one summary; - is standard input',
    )
    .option('--policy <file>', 'a policy file, strict or observe; default: the policy in the bundle')
    .option('--references <dir>', 'folder of reference values; default: the references in the bundle')
    .option('--trust-roots <dir>', 'folder of *.pem: authorities that endorse TPMs; or builtin')
    .option(
      '--initrd <file...>',
      'an initrd that the node booted: what is in it is read from the file; default: what the bundle says of it',
    )
    .addOption(outputOption('table', 'json', 'yaml', 'junit', 'sarif'))
    .addOption(utcOption())
    .action(async (bundle: string, options: VerifyOptions) =>
      (await import('../offline/verify/command.ts')).judgeBundle(context, bundle, options),
    );
  program
    .command('eventlog <file>')
    .summary('read and replay a TCG event log, offline')
    .description('read and replay a TCG event log, offline; - is standard input')
    .option('--userspace <file>', 'also read what systemd measured later: tpm2-measure.log of the same boot')
    .addOption(outputOption('table', 'json'))
    .action(async (file: string, options: EventLogOptions) =>
      (await import('../offline/boot/eventlog.ts')).showEventLog(context, file, options),
    );
  const boot = program.command('boot').description('compare boots');
  boot
    .command('diff <a> [b]')
    .description(
      'Show what differs between two boots; name the good one first. A boot is a file (a firmware log or an exported bundle), or a node at the server: NODE, or NODE@DIGEST with 12 digits or more from `assay history -o wide`. With one NODE alone, its latest boot is compared with its last trusted one.',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (a: string, b: string | undefined, options: BootDiffOptions) =>
      (await import('../offline/boot/diff.ts')).showBootDiff(context, a, b, options),
    );
}
