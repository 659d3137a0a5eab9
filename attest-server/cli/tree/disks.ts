import type { Command } from 'commander';
import type { DiskListOptions, EscrowOptions, InitOptions } from '../commands/disk.ts';
import type { Consent } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import type { RecoverOptions } from '../offline/recover/command.ts';
import { consentOptions, nodeArgument, outputOption, several, utcOption } from './option.ts';

/** Volumes of nodes whose keys the server holds. */
export function addDisks(program: Command, context: CliContext): void {
  const disks = program
    .command('disk')
    .alias('disks')
    .description('manage encrypted volumes that a node opens only after a boot that proved itself');
  disks
    .command('init')
    .summary('let a node format a volume, once')
    .description(
      'make the key of a volume, and let its node format it, once; prints the lines for crypttab and fstab, and the command to type on the node',
    )
    .addArgument(nodeArgument())
    .requiredOption('--volume <name>', 'the name in crypttab: letters, digits and _, at most 64')
    .requiredOption('--path <path>', 'where it is mounted, such as /var/lib/docker')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (node: string, options: InitOptions) =>
      (await import('../commands/disk.ts')).initVolume(context, node, options),
    );
  disks
    .command('list [node]')
    .description(
      'list volumes: whether they are formatted, when a key was last given out, and when it was last said to be done with',
    )
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
    .addOption(utcOption())
    .action(async (node: string | undefined, options: DiskListOptions) =>
      (await import('../commands/disk.ts')).listVolumes(context, node, options),
    );
  consentOptions(
    disks
      .command('remove')
      .description(
        'destroy the key of a volume: from then on only its recovery passphrase opens the disk; says which volume it is, and asks first',
      )
      .addArgument(nodeArgument())
      .argument('<volume>', 'its name, or its LUKS UUID'),
  ).action(async (node: string, volume: string, consent: Consent) =>
    (await import('../commands/disk.ts')).removeVolume(context, node, volume, consent),
  );
  disks
    .command('escrow')
    .summary('write the recovery passphrase of a volume, encrypted')
    .description(
      'write the recovery passphrase of a volume, encrypted by age to the recoveryRecipients of the policy; needs the role admin',
    )
    .addArgument(nodeArgument())
    .argument('<volume>', 'its name, or its LUKS UUID')
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .option(
      '--header <file>',
      'also write the LUKS header of the volume to this file, encrypted the same way',
    )
    .action(async (node: string, volume: string, options: EscrowOptions) =>
      (await import('../commands/disk.ts')).writeEscrow(context, node, volume, options),
    );
  disks
    .command('recover')
    .summary('decrypt what escrow wrote, without a server')
    .description(
      'decrypt what assay disk escrow wrote, without a server: the recovery passphrase of a volume, or its LUKS header; age --decrypt does the same',
    )
    .argument('<file>', 'what escrow wrote; - for standard input')
    .requiredOption(
      '-i, --identity <file>',
      'what age-keygen wrote, whose recipient is among keys.recoveryRecipients; you may repeat this option',
      several,
      [],
    )
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .action(async (file: string, options: RecoverOptions) =>
      (await import('../offline/recover/command.ts')).recover(context, file, options),
    );
}
