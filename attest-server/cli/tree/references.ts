import type { Command } from 'commander';
import type { CaptureOptions, ListOptions } from '../commands/reference.ts';
import type { StepOptions } from '../commands/reference-step.ts';
import type { CliContext } from '../context.ts';
import type { ComputeOptions } from '../offline/compute/command.ts';
import { consentOptions, type Formatted, outputOption, several, type ToFile, utcOption } from './option.ts';

export function addReferences(program: Command, get: Command, context: CliContext): void {
  const references = program
    .command('reference')
    .aliases(['references', 'ref'])
    .description('reference values: what nodes should have booted');
  for (const list of [
    references.command('list'),
    get.command('references').aliases(['reference', 'ref', 'refs']),
  ])
    list
      .description('references that the server holds')
      .option('--kind <kind>', 'only those of boot, runtime, firewall, disk')
      .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name'))
      .addOption(utcOption())
      .action(async (options: ListOptions) =>
        (await import('../commands/reference.ts')).listReferences(context, options),
      );
  references
    .command('capture <node...>')
    .description('make references of what up to 64 nodes last proved; you vouch for these nodes')
    .requiredOption('--name <name>', 'name of the new reference')
    .option('--staged', 'keep it for review: it makes nobody trusted yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (nodes: readonly string[], options: CaptureOptions) =>
      (await import('../commands/reference.ts')).captureReference(context, nodes, options),
    );
  for (const [action, description] of [
    ['approve', 'put a staged reference in force: boots like it are trusted'],
    ['retire', 'take a reference out of force: boots like it are no longer known'],
    ['revoke', 'mark boots like this reference as bad'],
    ['restore', 'take a revocation back that was a mistake: the reference is what it was before'],
  ] as const)
    consentOptions(
      references
        .command(`${action} <name>`)
        .description(`${description}; says first whom that changes, and asks`)
        .requiredOption('--reason <text>', 'why; it goes into the audit log'),
    )
      .addOption(outputOption('table', 'json', 'yaml'))
      .action(async (name: string, options: StepOptions) =>
        (await import('../commands/reference-step.ts')).changeReference(context, action, name, options),
      );
  references
    .command('export <name>')
    .description('a reference with its values, as a file for Git or for import at another server')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (name: string, options: Formatted & ToFile) =>
      (await import('../commands/reference.ts')).exportReference(context, name, options),
    );
  references
    .command('import <file>')
    .description('give the server a reference that was computed, exported or kept in Git; you vouch for it')
    .option('--staged', 'keep it for review: it makes nobody trusted yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: Formatted & { readonly staged?: boolean }) =>
      (await import('../commands/reference.ts')).importReference(context, file, options),
    );
  references
    .command('diff <a> <b>')
    .description(
      'what differs between two references: names at the server, or files (with a / or .json, .yaml)',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (a: string, b: string, { output }: Formatted) =>
      (await import('../offline/reference-diff.ts')).showReferenceDiff(context, a, b, output),
    );
  references
    .command('compute')
    .description('make a reference file of kernel, initrd, loader or unified image, offline')
    .requiredOption('--name <name>', 'name of the new reference')
    .requiredOption('--group <group>', 'group of nodes that it is for')
    .option('--kernel <file>', 'a kernel image; may be given several times', several, [])
    .option('--initrd <file>', 'an initrd; several in the order in which they are loaded', several, [])
    .option('--loader <file>', 'an image that runs before the kernel: shim, GRUB, systemd-boot', several, [])
    .option('--uki <file>', 'a unified kernel image, which has kernel, initrd and command line in it')
    .option('--cmdline <text>', 'the command line, as /proc/cmdline shows it')
    .option('--cmdline-file <file>', 'a file that holds it, such as a copy of /proc/cmdline')
    .option('--via <starter>', 'who starts the kernel: grub, systemd-boot, firmware', 'grub')
    .option('--no-secure-boot', 'Secure Boot is off: then GRUB starts a kernel that PCR 4 does not show')
    .option('--state <state>', 'staged (for review) or active', 'staged')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (options: ComputeOptions) =>
      (await import('../offline/compute/command.ts')).writeComputedReference(context, options),
    );
}
