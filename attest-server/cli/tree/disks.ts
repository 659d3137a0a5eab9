import type { Command } from 'commander';
import type {
  DiskListOptions,
  EscrowOptions,
  InitOptions,
  RevokeOptions,
  RotateOptions,
} from '../commands/disk.ts';
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
      'list volumes: whether they are formatted, when a key was last given out, when it was last said to be done with, and whether the next boot would get it, by what the node says lies on its disk; settings of the firmware, the boot menu and the command line cannot be foreseen',
    )
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
    .addOption(utcOption())
    .action(async (node: string | undefined, options: DiskListOptions) =>
      (await import('../commands/disk.ts')).listVolumes(context, node, options),
    );
  consentOptions(
    disks
      .command('rotate')
      .summary('replace the key of a volume at the next boot')
      .description(
        'replace the key of a volume by a new one, at the next boot of its node; binds the volume to the TPM that the node has now, if that is another one; says what happens, and asks first',
      )
      .addArgument(nodeArgument())
      .argument('<volume>', 'its name, or its LUKS UUID')
      .option('--cancel', 'call it off, while the node has not begun'),
  ).action(async (node: string, volume: string, options: RotateOptions) =>
    (await import('../commands/disk.ts')).rotateVolume(context, node, volume, options),
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
  for (const [action, description] of [
    [
      'revoke',
      'give the key of a volume to nobody from now on, and keep it; says what its node loses, and asks first',
    ],
    ['restore', 'give a key that was revoked to its node again; says who revoked it and why, and asks first'],
  ] as const)
    consentOptions(
      disks
        .command(action)
        .description(description)
        .addArgument(nodeArgument())
        .argument('<volume>', 'its name, or its LUKS UUID')
        .requiredOption('--reason <text>', 'the reason, for the audit log'),
    ).action(async (node: string, volume: string, options: RevokeOptions) =>
      (await import('../commands/disk.ts')).revokeVolume(context, action, node, volume, options),
    );
  disks
    .command('rewrap')
    .summary('wrap all keys by the newest wrapping key')
    .description(
      'have the server read the file of its wrapping keys again and wrap all keys of disks by the newest one; says which wrapping keys are still needed, and removes none',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (options: DiskListOptions) =>
      (await import('../commands/disk.ts')).rewrapVolumes(context, options),
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
