import type { Advice } from '../../protocol/advice.ts';
import type { ReasonCode } from '../../protocol/reasons.ts';

const compare = ['See what differs from its last trusted boot:', '  assay boot diff NODE'].join('\n');

const keep = [
  'Keep the evidence of this boot, which the server erases in time:',
  '  assay bundle NODE --evidence EVIDENCE -f NODE.json',
].join('\n');
const bootLog = '  ls -l /sys/kernel/security/tpm0/binary_bios_measurements';
const capture = '  assay reference capture NODE --name NEW_NAME';
/** What a person does next about a boot. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  kernel_unknown: [
    compare,
    'If the kernel was updated on purpose, and you vouch for this node, capture what it booted:',
    capture,
    'If not, take the node out of service and look for who changed the kernel.',
    keep,
  ].join('\n'),
  initrd_unknown: [
    compare,
    'If the initrd was rebuilt on purpose, and you vouch for this node, capture what it booted:',
    capture,
    'If each machine builds its own, let the policy take each node’s own (boot.scope.initrd: node).',
    'If not, take the node out of service and compare its initrd with a good one.',
    keep,
  ].join('\n'),
  bootloader_unknown: [
    compare,
    'If the boot loader or its configuration was changed on purpose, and you vouch for this node, capture what it booted:',
    capture,
    'If nobody has seen a file that it read, let the agent read /boot and the EFI system partition: its log says what it could not.',
    'If not, take the node out of service and reinstall the loader from its package.',
    keep,
  ].join('\n'),
  firmware_unknown: [
    compare,
    'If the firmware was updated on purpose, or this is another model of machine, and you vouch for this node, capture what it booted:',
    capture,
    'If not, take the node out of service and compare its firmware with the vendor’s.',
    keep,
  ].join('\n'),
  pcr_mismatch: [
    'No event of a known kind explains the difference, or known ones were measured in another order, as a system does that extends them later: treat the node as changed until you know why.',
    compare,
  ].join('\n'),
  no_reference: [
    'If you vouch for this node, capture what it booted:',
    capture,
    'If you do not, capture it from a node of its group for which you do, or compute it from the files (assay reference compute --help).',
  ].join('\n'),
  cmdline_policy: [
    compare,
    'Look at the boot loader’s configuration on this node. GRUB: /boot/grub/grub.cfg and /etc/default/grub; systemd-boot: its entries or the unified image.',
    'If the change is wanted, and you vouch for this node, capture what it booted, or allow the argument in the policy (boot.cmdline.allow):',
    capture,
    'Where the policy forbids to resume an image, add nohibernate to the line.',
  ].join('\n'),
  secureboot_off: ['Switch Secure Boot on in the firmware setup, and reboot the node.', compare].join('\n'),
  secureboot_policy: [
    compare,
    'Find who changed the Secure Boot keys or who signed what runs (PK, KEK, db, dbx, MOK); restore them, or update what was revoked.',
    'If the change is wanted, and you vouch for this node, capture what it booted:',
    capture,
  ].join('\n'),
  rebooted: 'Wait for the agent to prove the new boot; if nothing comes, see whether the agent runs.',
  resumed: 'Servers do not sleep: see who suspended the node, and switch suspend off.',
  no_boot_log: ['See on the node whether it has one, and the agent may read it:', bootLog].join('\n'),
  log_incomplete: [
    'The log, or a part of it, is missing, and may hide what ran. See on the node whether it is there and the agent may read it:',
    bootLog,
    'If it is there and whole, take the node out of service.',
  ].join('\n'),
  log_replay_mismatch:
    'The log does not lead to the PCRs that the TPM signed: the log was changed, or something extended PCRs without it. Take the node out of service.',
  bank_unextended: 'Switch the SHA-256 bank on in the firmware setup, so that the firmware measures into it.',
  bank_mismatch: [
    'One bank tells of another boot than the other: something was measured into one of them alone.',
    'If all machines of this model do so, update their firmware, or switch the bank that it leaves out off in its setup.',
    'If this node alone does, take it out of service.',
    compare,
  ].join('\n'),
  boot_correlation:
    'The TPM was reset while the kernel ran on: see whether somebody had access to the machine’s board, and reboot it.',
  kexec_detected:
    'Another kernel was started by kexec, which measures nothing: reboot the node through its firmware.',
  kexec_possible:
    'Boot with Secure Boot or lockdown=integrity, or set kernel.kexec_load_disabled=1, so that no other kernel can be started unseen.',
  boot_remeasured:
    'After the kernel had started, something extended PCRs or hides what the kernel found in them: take the node out of service, and read its boot loader’s entries and the initrd that they name from another system.',
  unverified_event: ['A fact hangs on a part of the log that the TPM does not vouch for.', compare].join(
    '\n',
  ),
  event_data_mismatch:
    'The log’s text is not what was measured: somebody changed it on the node. Take the node out of service.',
  separator_error:
    'The firmware did not end its part of the boot as it must: look for errors in its setup, and reboot; if it stays, do not trust the node.',
  secureboot_ambiguous: [
    'The log tells two values of Secure Boot: one of them was written on the node.',
    compare,
  ].join('\n'),
  initrd_unmeasured:
    'The kernel got an initrd that nothing measured: put it into the unified image, or boot through a loader that measures it.',
  revoked_reference: [
    'If the revocation is right, have the node boot something else: update it, and reboot it.',
    'If it was a mistake, take it back; whoever booted like that is judged anew at once:',
    '  assay reference restore REFERENCE --reason "revoked by mistake"',
  ].join('\n'),
};
