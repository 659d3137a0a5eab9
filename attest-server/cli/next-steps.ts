import { classOf, type ReasonClass, type ReasonCode } from '../protocol/reasons.ts';

const compare =
  'To see all of it: assay boot diff NODE@DIGEST NODE, with the DIGEST of a good boot (assay history NODE --transitions -o wide).';

const approve =
  'assay enrol approve NODE --ek DIGEST, with the digest that its TPM gives on the machine (docs/first-node.md shows how).';

const otherParts =
  'The parts of the evidence do not belong together: it was changed after the TPM signed it. A file: export it again (assay bundle NODE); if that is refused too, take the node out of service.';

const foreignKey =
  'No agent makes such a key, and what it signs need not come from the TPM: take the node out of service, and see what runs there in place of the agent.';

/** `NODE` stands for the node's name. */
const byCode: Readonly<Partial<Record<ReasonCode, string>>> = {
  kernel_unknown: `If the kernel was updated on purpose, make it known: assay reference capture NODE --name NAME, or assay reference approve NAME where one is staged (assay reference compute makes one of the kernel’s file before any node runs it); if not, take the node out of service and look for who changed it. ${compare}`,
  initrd_unknown: `If the initrd was rebuilt on purpose, capture it (assay reference capture NODE --name NAME), or let the policy take each node’s own (boot.scope.initrd: node); if not, take the node out of service and compare its initrd with a good one. ${compare}`,
  bootloader_unknown: `If the boot loader or its configuration was changed on purpose, capture it: assay reference capture NODE --name NAME; if not, take the node out of service and reinstall the loader from its package. ${compare}`,
  firmware_unknown: `If the firmware was updated on purpose, or this is another model of machine, capture it: assay reference capture NODE --name NAME; if not, take the node out of service and compare its firmware with the vendor’s. ${compare}`,
  pcr_mismatch: `No event of a known kind explains the difference: treat the node as changed until you know why. ${compare}`,
  no_reference:
    'If you vouch for this node, capture what it booted: assay reference capture NODE --name NAME; else capture it from a node of its group that you vouch for, or compute it from the files (assay reference compute).',
  cmdline_policy: `Look at the boot loader’s configuration on this node (GRUB: /boot/grub/grub.cfg and /etc/default/grub; systemd-boot: its entries or the unified image); if the change is wanted, capture a new reference (assay reference capture NODE --name NAME) or allow the argument in the policy (boot.cmdline.allow). ${compare}`,
  secureboot_off: 'Switch Secure Boot on in the firmware setup, and reboot the node.',
  secureboot_policy: `Find who changed the Secure Boot keys or who signed what runs (PK, KEK, db, dbx, MOK); restore them, update what was revoked, or capture a new reference: assay reference capture NODE --name NAME. ${compare}`,
  evidence_overdue:
    'See whether the node is up, its agent runs, and it reaches the server on the agents’ port. If so, the server may refuse what it sends: assay audit export - | grep NODE shows the codes of its refusals.',
  evidence_raced: 'Nothing, if it passes; if it stays, look for what extends PCRs all the time.',
  rebooted: 'Wait for the agent to prove the new boot; if nothing comes, see whether the agent runs.',
  enrolment_pending: `See which TPMs wait (assay enrol list), compare the digest on the machine, and approve it: ${approve} If none waits, see whether the agent runs on the node.`,
  unsupported_tpm: 'See whether the TPM is switched on in the firmware setup and /dev/tpmrm0 exists.',
  no_boot_log:
    'See whether /sys/kernel/security/tpm0/binary_bios_measurements exists on the node and can be read.',
  log_incomplete:
    'The log, or a part of it, is missing, and may hide what ran: see whether /sys/kernel/security/tpm0/binary_bios_measurements is whole on the node and the agent can read it; if it is, take the node out of service.',
  log_replay_mismatch:
    'The log does not lead to the PCRs that the TPM signed: the log was changed, or something extended PCRs without it. Take the node out of service.',
  bank_unextended: 'Switch the SHA-256 bank on in the firmware setup, so that the firmware measures into it.',
  weak_bank: 'Switch the SHA-256 bank on in the firmware setup: SHA-1 alone proves nothing.',
  counter_rollback: `The TPM was cleared, or restored from a snapshot: find out by whom; then say that it is still the right one: ${approve}`,
  clone_suspected: `Two machines answer as one: find both before you trust either; then ${approve}`,
  clock_rewind: `The machine is at an earlier moment of the same boot, as a restored snapshot is: see who restored it; then say that it is still the right one: ${approve}`,
  tpm_firmware: `If the TPM’s firmware was not updated on purpose, take the node out of service; if it was, say so: ${approve}`,
  boot_correlation:
    'The TPM was reset while the kernel ran on: see whether somebody had access to the machine’s board, and reboot it.',
  kexec_detected:
    'Another kernel was started by kexec, which measures nothing: reboot the node through its firmware.',
  kexec_possible:
    'Boot with Secure Boot or lockdown=integrity, or set kernel.kexec_load_disabled=1, so that no other kernel can be started unseen.',
  resumed: 'Servers do not sleep: see who suspended the node, and switch suspend off.',
  unverified_event: `A fact hangs on a part of the log that the TPM does not vouch for. ${compare}`,
  event_data_mismatch:
    'The log’s text is not what was measured: somebody changed it on the node. Take the node out of service.',
  separator_error:
    'The firmware did not end its part of the boot as it must: look for errors in its setup, and reboot; if it stays, do not trust the node.',
  secureboot_ambiguous: `The log tells two values of Secure Boot: one of them was written on the node. ${compare}`,
  initrd_unmeasured:
    'The kernel got an initrd that nothing measured: put it into the unified image, or boot through a loader that measures it.',
  channel_binding:
    'Let agents reach the server directly: a proxy that ends TLS between them breaks the proof.',
  ak_mismatch: 'Another TPM answers in this node’s name: see whether the machine or its TPM was exchanged.',
  ek_already_bound: 'This name or TPM is enrolled already: see whether the machine was exchanged or copied.',
  identity_claim_mismatch: 'See which machine claims this name; its TPM is enrolled under another.',
  revoked_reference: 'Update the node: what it booted was revoked.',
  token_rejected: 'Make a new join token: assay join-token create --node NODE --ttl 1h.',
  ek_untrusted_root:
    'Trust the vendor’s root (endorsementRoots of the server, --trust-roots offline), or pin the key: assay ek import FILE.',
  malformed:
    'What came cannot be read. A file: see whether it is a bundle (assay bundle NODE exports one). A node’s answer: see whether agent and server are of one version; if they are, take the node out of service.',
  identity_unproven: `If the policy wants another class of TPM, choose the node’s group or the group’s tpmClass anew, or trust the root that says what this TPM is (endorsementRoots of the server); if nobody vouches for its key, do so: ${approve} Offline, name the authorities that endorse TPMs: --trust-roots.`,
  bank_mismatch: `One bank tells of another boot than the other: something was measured into one of them alone. If all machines of this model do so, update their firmware, or switch the bank that it leaves out off in its setup; if this node alone does, take it out of service. ${compare}`,
  sig_invalid: otherParts,
  pcr_digest_mismatch: otherParts,
  ak_name_mismatch: otherParts,
  not_tpm_generated: otherParts,
  wrong_attest_type: otherParts,
  ak_attributes: foreignKey,
  ak_hierarchy: foreignKey,
  weak_key:
    'Signatures with such a key can be forged: update the firmware of the TPM, or exchange it; if other machines of this model have better keys, take the node out of service.',
  ek_cert_key_mismatch:
    'The certificate was made for another TPM: see whether the board or the TPM of this machine was exchanged, and do not approve the node before you know.',
  pcr_selection:
    'Not the PCRs that were asked for are signed: see whether agent and server are of one version; if they are, take the node out of service.',
  too_large:
    'More came than is taken. A file: see whether it is the right one. A node: reboot it, which begins its logs anew; if it happens again, take the node out of service.',
  nonce_invalid: 'Old or foreign evidence was sent. If it is yours, export the bundle again.',
};

const byClass: Readonly<Record<ReasonClass, string>> = {
  drift:
    'If the change is wanted, capture a new reference from a node you vouch for; if not, treat the node as changed.',
  posture: 'Bring the node back to what the policy asks, or change the policy on purpose.',
  service: 'See whether the node, its agent and its TPM work; the state follows by itself.',
  failed: 'A proof failed: take the node out of service until you know whether it lies or is broken.',
};

/** What a person does next about a reason; in its commands stands the node's name, where it is known. */
export function nextStep(code: ReasonCode, node: string | null = null): string {
  const step = byCode[code] ?? byClass[classOf(code)];
  return node === null ? step : step.replaceAll('NODE', () => node);
}
