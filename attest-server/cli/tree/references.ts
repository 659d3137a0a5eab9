import type { Command } from 'commander';
import type { ReferenceAction } from '../../formats/reference.ts';
import type { CandidatesOptions } from '../commands/candidates.ts';
import type { ExpectOptions } from '../commands/expect.ts';
import type { CaptureFlags, DeleteOptions, ImportOptions, ListOptions } from '../commands/reference.ts';
import type { StepOptions } from '../commands/reference-step.ts';
import type { CliContext } from '../context.ts';
import type { ComputeOptions } from '../offline/compute/command.ts';
import type { DeclareOptions } from '../offline/declare/command.ts';
import type { RuntimeOptions } from '../offline/runtime/command.ts';
import {
  consentOptions,
  type Formatted,
  nodesArgument,
  outputOption,
  several,
  type ToFile,
  utcOption,
} from './option.ts';

export function addReferences(program: Command, context: CliContext, get: Command): void {
  program
    .command('expect')
    .summary('announce a change of what nodes boot, so that it alarms nobody')
    .description(
      'announce a change of what nodes boot: until it ends, a node that boots the announced change is judged as if it were approved, and one partway there is pending (change_expected); without nodes and --group, list what is announced',
    )
    .addArgument(nodesArgument('[node...]', 'these nodes of one group'))
    .option('--group <group>', 'all nodes of this group')
    .option('--reference <reference>', 'a staged reference that they will boot like; default: any change')
    .option('--kernel <file>', 'the kernel that they will boot; it is kept as a staged reference')
    .option('--initrd <file>', 'with --kernel: an initrd; repeat it in the order of loading', several, [])
    .option('--via <starter>', 'with --kernel: what starts it: grub, systemd-boot, firmware', 'grub')
    .option('--no-secure-boot', 'with --kernel: Secure Boot is off')
    .option('--until <moment>', 'when it ends: RFC 3339, at most 30 days from now')
    .option('--for <duration>', 'how long: 30m, 2h, at most 30d')
    .option('--reason <text>', 'the reason, for the audit log')
    .option('--end <reference>', 'expect the change of this reference no longer')
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (nodes: readonly string[], options: ExpectOptions) =>
      (await import('../commands/expect.ts')).expectChange(context, nodes, options),
    );
  program
    .command('declare <dir>')
    .summary('write the manifest of a directory of references, pins and policy, to be signed')
    .description(
      'check a directory of references, pins and policy as a server would, and write its manifest with the next serial, to be signed; servers put it in force as a whole (docs/references.md)',
    )
    .option('--check', 'write nothing: say whether a server with these keys would take the directory')
    .option(
      '--key <key>',
      'with --check: a key that may sign, or a file of keys; you may repeat this option',
      several,
      [],
    )
    .option('--serial <number>', 'this serial; default: one more than that of the manifest that is there')
    .option(
      '--restore <reference>',
      'take back that a person revoked it at a server; you may repeat this option',
      several,
      [],
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (dir: string, options: DeclareOptions) =>
      (await import('../offline/declare/command.ts')).declareDirectory(context, dir, options),
    );
  const references = program
    .command('reference')
    .aliases(['references', 'ref'])
    .description(
      'manage reference values: what nodes should boot and run, and what their disks and firewalls should be',
    );
  for (const list of [
    references.command('list'),
    get.command('references').aliases(['reference', 'ref', 'refs']),
  ])
    list
      .description('list the references that the server holds')
      .option('--kind <kind>', 'only references of this kind, such as boot or disk')
      .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
      .addOption(utcOption())
      .action(async (options: ListOptions) =>
        (await import('../commands/reference.ts')).listReferences(context, options),
      );
  references
    .command('candidates')
    .description('show what nodes boot and run that no reference has, grouped, with the command for each')
    .option('--group <group>', 'only of nodes of this group')
    .option('--kind <kind>', 'only of this kind, such as boot or runtime')
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (options: CandidatesOptions) =>
      (await import('../commands/candidates.ts')).showCandidates(context, options),
    );
  consentOptions(
    references
      .command('capture <node...>')
      .description(
        'make references from what 1 to 64 nodes last proved; you vouch for these nodes. Where something stands against one of them, or a node would lose its trust by it, shows that and asks first',
      ),
  )
    .requiredOption('--name <name>', 'name of the new reference')
    .option('--kind <kind>', 'of what, such as runtime or disk', 'boot')
    .option(
      '--only <path>',
      'of kind runtime: this file alone, by its path or digest; you may repeat this option',
      several,
      [],
    )
    .option('--initrd', 'of kind runtime: what is in the initrds of the nodes, not what they ran since')
    .option('--group <group>', 'for this group of a policy; default: the group that the nodes have now')
    .option('--staged', 'keep it for review: no node is trusted by it yet')
    .option('--reason <text>', 'the reason, for the audit log; needed where something stands against a node')
    .option('--no-aggregate', 'of kind boot: demand of no node the proof boot_aggregate that these gave')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (nodes: readonly string[], options: CaptureFlags) =>
      (await import('../commands/reference.ts')).captureReference(context, nodes, options),
    );
  for (const [action, description] of [
    ['approve', 'put a staged reference in force: nodes that match it are trusted'],
    ['retire', 'take a reference out of force: nodes that match it are no longer known'],
    ['revoke', 'mark this reference as bad'],
    ['restore', 'take back a revocation made by mistake: the reference gets its earlier state again'],
  ] as const)
    consentOptions(
      revocationOptions(
        action,
        references
          .command(`${action} <name>`)
          .description(`${description}; shows which nodes that changes, and asks first`)
          .requiredOption('--reason <text>', 'the reason, for the audit log'),
      ),
    )
      .addOption(outputOption('table', 'json', 'yaml'))
      .action(async (name: string, options: StepOptions) =>
        (await import('../commands/reference-step.ts')).changeReference(context, action, name, options),
      );
  consentOptions(
    references
      .command('delete <name>')
      .description('delete a staged or retired reference, which decides nothing; asks first')
      .requiredOption('--reason <text>', 'the reason, for the audit log'),
  ).action(async (name: string, options: DeleteOptions) =>
    (await import('../commands/reference.ts')).deleteReference(context, name, options),
  );
  references
    .command('export <name>')
    .description('write a reference to a file, for Git or for another server')
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (name: string, options: Formatted & ToFile) =>
      (await import('../commands/reference.ts')).exportReference(context, name, options),
    );
  references
    .command('import <file...>')
    .description(
      'give the server a reference from a file (computed, exported, or from Git); you vouch for it. Also takes component files of systemd-pcrlock, or a folder of them, and a measured boot reference state of Keylime: what a reference can express is staged, and the command reports the rest',
    )
    .option('--staged', 'keep it for review: no node is trusted by it yet')
    .option('--name <name>', 'of files of other programs: name of the new reference')
    .option('--group <group>', 'of files of other programs: group of nodes that the reference is for')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (files: readonly string[], options: ImportOptions) =>
      (await import('../commands/reference.ts')).importReference(context, files, options),
    );
  references
    .command('diff <a> <b>')
    .description(
      'show what differs between two references of one kind: names at the server, or files (with a / or .json, .yaml)',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (a: string, b: string, { output }: Formatted) =>
      (await import('../offline/reference-diff.ts')).showReferenceDiff(context, a, b, output),
    );
  references
    .command('compute')
    .description('compute a reference file from kernel, initrd, loader or unified image, offline')
    .requiredOption('--name <name>', 'name of the new reference')
    .requiredOption('--group <group>', 'group of nodes that the reference is for')
    .option('--kernel <file>', 'a kernel image', several, [])
    .option('--initrd <file>', 'an initrd; repeat this option in the order of loading', several, [])
    .option('--loader <file>', 'an image that runs before the kernel: shim, GRUB, systemd-boot', several, [])
    .option('--uki <file>', 'a unified kernel image: kernel, initrd and command line in one file')
    .option('--cmdline <text>', 'the command line, as /proc/cmdline shows it')
    .option('--cmdline-file <file>', 'a file with the command line, such as a copy of /proc/cmdline')
    .option('--via <starter>', 'what starts the kernel: grub, systemd-boot, firmware', 'grub')
    .option(
      '--no-secure-boot',
      'Secure Boot is off: GRUB then starts the kernel without measuring it into PCR 4',
    )
    .option('--state <state>', 'staged (for review) or active', 'staged')
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (options: ComputeOptions) =>
      (await import('../offline/compute/command.ts')).writeComputedReference(context, options),
    );
  const source = (what: string) => `${what}; you may repeat this option`;
  references
    .command('runtime')
    .description('write a reference file that lists the files that nodes may run, from everything given')
    .requiredOption('--name <name>', 'name of the new reference')
    .requiredOption('--group <group>', 'group of nodes that the reference is for')
    .option('--from-dpkg <dir>', source('every .deb below this folder'), several, [])
    .option('--from-rpm <dir>', source('every .rpm below this folder'), several, [])
    .option(
      '--from-node <node>',
      source('what this node measured when it was last trusted, or NODE@DIGEST; you vouch for it'),
      several,
      [],
    )
    .option('--from-keylime <file>', source("Keylime's runtime policy, or its allow-list"), several, [])
    .option('--from-reference <file>', source('a reference file of kind runtime'), several, [])
    .option('--policy <file>', source('a policy of IMA that may be in force on the nodes'), several, [])
    .option('--state <state>', 'staged (for review) or active', 'staged')
    .option('-f, --file <file>', 'write to this file instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (options: RuntimeOptions) =>
      (await import('../offline/runtime/command.ts')).writeRuntimeReference(context, options),
    );
}

function revocationOptions(action: ReferenceAction, step: Command): Command {
  return action === 'revoke'
    ? step.option('--taint', 'what it names is known as bad: taint the nodes that rest on it at once')
    : step;
}
