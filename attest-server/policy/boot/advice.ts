import type { Advice } from '../../wire/advice.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import { expectedAggregate } from './aggregate.ts';
import { expectedNoResume } from './command-line-rules.ts';
import { expectedArchives, expectedFiles, expectedImage } from './initrd/findings.ts';

const compare = ['See what differs from its last trusted boot:', '  assay boot diff NODE'].join('\n');

const keep = [
  'Keep the evidence of this boot, because the server erases it later:',
  '  assay bundle NODE --evidence EVIDENCE -f NODE.json',
].join('\n');
/** Its file system says of each file that it has 0 bytes: only reading it shows how long it is. */
const bootLog = '  wc -c /sys/kernel/security/tpm0/binary_bios_measurements';
const emptyLog =
  'If it has 0 bytes, the firmware hands over no log, and nothing on the node can restore it: switch the TPM on in the firmware setup, boot by UEFI (GRUB: linuxefi, or 2.06 and later), and reboot.';
const capture = '  assay reference capture NODE --name NEW_NAME';
/** Where something stands against the node: it counts for nobody before a person has seen whom it changes. */
const stage = [
  `${capture} --staged`,
  '  assay reference approve NEW_NAME --reason "its boots are wanted"',
].join('\n');
/** The next step for a person on a boot. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  kernel_unknown: [
    compare,
    'If the kernel was updated on purpose, and you vouch for this node, capture what it booted, and approve that:',
    stage,
    'If not, take the node out of service and find out who changed the kernel.',
    keep,
  ].join('\n'),
  initrd_unknown: [
    compare,
    'If the initrd was rebuilt on purpose, and you vouch for this node, capture what it booted, and approve that:',
    stage,
    'If each machine builds its own initrd, make the server check its content: set boot.scope.initrd: contents in the policy.',
    'If not, take the node out of service and compare its initrd with a good one.',
    keep,
  ].join('\n'),
  bootloader_unknown: [
    compare,
    'If the boot loader or its configuration was changed on purpose, and you vouch for this node, capture what it booted, and approve that:',
    stage,
    'If the reason says that nobody knows a file, let the agent read /boot and the EFI system partition. Its log names what it could not read.',
    'If not, take the node out of service and reinstall the loader from its package.',
    keep,
  ].join('\n'),
  firmware_unknown: [
    compare,
    'If you vouch for this node, and its firmware was updated on purpose or it is another model of machine, capture what it booted, and approve that:',
    stage,
    'If the reason names an image in PCR 4, somebody opened the firmware’s setup or boot menu during this boot: reboot the node without doing so.',
    'If not, take the node out of service and compare its firmware with the vendor’s.',
    keep,
  ].join('\n'),
  pcr_mismatch: [
    'No known event explains the difference, or known events were measured in another order. A system that extends PCRs later looks like this: treat the node as changed until you know why.',
    compare,
  ].join('\n'),
  no_reference: [
    'If you vouch for this node, capture what it booted:',
    capture,
    'If you do not, capture another node of its group that you vouch for, or compute a reference from the files (assay reference compute --help).',
  ].join('\n'),
  cmdline_policy: [
    compare,
    'Check the boot loader’s configuration on this node. For GRUB: /boot/grub/grub.cfg and /etc/default/grub. For systemd-boot: its entries, or the unified image.',
    'If the change is wanted, and you vouch for this node, allow the argument in the policy (boot.cmdline.allow), or capture what it booted, and approve that:',
    stage,
    'If not, take the node out of service and find out who changed the command line.',
    keep,
  ].join('\n'),
  secureboot_off: [
    compare,
    'If somebody switched Secure Boot off on purpose, switch it on in the firmware setup, and reboot the node.',
    'If not, take the node out of service and find out who switched it off.',
    keep,
  ].join('\n'),
  secureboot_policy: [
    compare,
    'Find out who changed the Secure Boot keys (PK, KEK, db, dbx, MOK), or who signed what runs. Restore the keys, or update revoked programs.',
    'If the change is wanted, and you vouch for this node, capture what it booted, and approve that:',
    stage,
  ].join('\n'),
  change_expected: [
    'Somebody announced this change. See who, until when, and what:',
    '  assay expect',
    'When the node boots the announced change, approve it before the announcement ends. Afterwards only approved references count:',
    '  assay reference approve REFERENCE --reason "the update is done"',
    'If only the new kernel was announced, or any change, and you vouch for this node, capture what it booted, and approve that:',
    stage,
  ].join('\n'),
  rebooted: [
    'If the severity is info, the node has proven its new boot. There is nothing to do, unless somebody cleared its TPM.',
    'Otherwise wait for the agent to prove the new boot. If nothing comes, check that the agent runs.',
  ].join('\n'),
  resumed: 'Servers should not sleep: find out who suspended the node, and switch suspend off.',
  no_boot_log: [
    'See on the node, as root, whether there is a boot log, and how many bytes it has:',
    bootLog,
    emptyLog,
    'If it has more, the agent cannot read it: its log says why.',
    'If machines of this kind have none, write boot: {withoutLog: pcrs} into the policy of their group, and capture one that you vouch for.',
  ].join('\n'),
  log_incomplete: [
    'The boot log, or a part of it, is missing. That can hide what ran. See on the node, as root, whether it is there, and how many bytes it has:',
    bootLog,
    'If there is no such file, see that securityfs is mounted, and that the pod of the agent has it:',
    '  findmnt /sys/kernel/security',
    emptyLog,
    'If it is for another bank, as the reason says, the kernel has a log in the format from before TPM 2.0. Boot it by UEFI and by its EFI stub (GRUB: linuxefi, or 2.06 and later), and update the firmware.',
    'If the log is there and complete, take the node out of service.',
  ].join('\n'),
  log_replay_mismatch: [
    'The log does not match the PCRs that the TPM signed: somebody changed the log, or something extended PCRs without an event. Take the node out of service.',
    'If it is only PCR 0, 2 or 6, on every machine of this model, its firmware does not log everything that it measures. Give the model its own group, make its policy compare the value (boot.byValue), capture a node that you vouch for, and approve that:',
    stage,
  ].join('\n'),
  bank_unextended:
    'In the firmware setup, switch on the SHA-256 bank, so that the firmware measures into it.',
  bank_mismatch: [
    'The two banks show different boots: something was measured into only one of them.',
    'If all machines of this model do so, update their firmware, or switch off the bank that it leaves out.',
    'If only this node does so, take it out of service.',
    compare,
  ].join('\n'),
  boot_correlation:
    'The TPM was reset while the kernel kept running. Find out whether somebody had access to the board of the machine, and reboot it.',
  kexec_detected:
    'Somebody started another kernel with kexec, which measures nothing. Reboot the node through its firmware.',
  kexec_possible:
    'Boot with Secure Boot or lockdown=integrity, or set kernel.kexec_load_disabled=1, so that no other kernel can be started unseen.',
  boot_remeasured:
    'Something extended PCRs after the kernel had started, or hides what the kernel found in them. Take the node out of service. From another system, read the entries of its boot loader and the initrd that they name.',
  tpm_firmware:
    'The policy refuses this version (boot.tpmFirmware.deny). Update the firmware of the TPM, or exchange it.',
  unverified_event: [
    'If the severity is info, a PCR was compared by its value, as the policy says: there is nothing to do.',
    'Otherwise the verdict needs a part of the log that the TPM does not vouch for.',
    compare,
  ].join('\n'),
  event_data_mismatch:
    'The text of the log is not what was measured: somebody changed it on the node. Take the node out of service.',
  separator_error:
    'The firmware did not end its part of the boot correctly. Look for errors in the firmware setup, and reboot. If the reason stays, do not trust the node.',
  secureboot_ambiguous: [
    'The log has two values for Secure Boot: somebody wrote one of them on the node.',
    compare,
  ].join('\n'),
  initrd_unmeasured:
    'The kernel got an initrd that nothing measured. Put the initrd into the unified image, or boot with a loader that measures it.',
  revoked_reference: [
    'If the revocation is right, update the node and reboot it, so that it boots something else.',
    'If it was a mistake, take it back. The server then judges the affected nodes again at once:',
    '  assay reference restore REFERENCE --reason "revoked by mistake"',
  ].join('\n'),
};

/** By what the reason expects: a word of the command line, the proof of the boot, and what is in the initrd where the policy asks for it. */
export const adviceByExpected: ReadonlyMap<string, Advice> = new Map([
  [
    expectedNoResume,
    [
      'The policy forbids that the kernel resumes an image (boot.cmdline.resume). Add nohibernate to the command line, and reboot the node.',
      'If it was there before, take the node out of service and look for who changed the command line.',
      compare,
      keep,
    ].join('\n'),
  ],
  [
    expectedAggregate,
    [
      'If the severity is info, nobody demands this proof: there is nothing to do.',
      'Otherwise check on the node that its kernel has the list of IMA, and that the agent may read it:',
      '  ls -l /sys/kernel/security/ima/binary_runtime_measurements',
      'If a reference demands the proof, and you vouch for this node although its machine cannot give it, capture its boot without that demand, approve it, and retire the reference that the reason names:',
      '  assay reference capture NODE --no-aggregate --name NEW_NAME --staged',
      '  assay reference approve NEW_NAME --reason "its boots are wanted"',
      'If the reason stays, treat the node as untrusted: somebody who boots another initrd in secret would withhold this list.',
    ].join('\n'),
  ],
  [
    expectedImage,
    [
      'The reason says why it is not here; docs/initrd.md tells what to do about each. While it waits or is sent, there is nothing to do.',
      'If root alone may read the initrd, have it copied for the agent. On the node:',
      '  assay-agent inspect --initrd',
      'If it was rebuilt since the boot, reboot the node.',
      'If the reason stays, treat the node as untrusted: anybody who controls the agent can fake this reason.',
    ].join('\n'),
  ],
  [
    expectedFiles,
    [
      'Below the reason stands each file that nobody knows, and why. If it is of a package, the list of the group needs that package (docs/initrd.md).',
      'If you vouch for this file, capture it, and approve that:',
      '  assay reference capture NODE --kind runtime --initrd --only FILE_PATH --name NEW_NAME --staged',
      '  assay reference approve NEW_NAME --reason "its files are wanted"',
      'If you vouch for all that is in this initrd, capture all of it in the same way:',
      '  assay reference capture NODE --kind runtime --initrd --name NEW_NAME --staged',
      'If not, take the node out of service and compare its initrd with a good one.',
      keep,
    ].join('\n'),
  ],
  [
    expectedArchives,
    [
      'Rebuild the initrd in a format that Assay can read, and reboot the node: COMPRESS=zstd in /etc/initramfs-tools/initramfs.conf, or compress="zstd" for dracut (docs/initrd.md).',
      'If it was made in such a form, take the node out of service: something was added to it.',
      keep,
    ].join('\n'),
  ],
]);
