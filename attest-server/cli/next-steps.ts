import { classOf, type ReasonClass, type ReasonCode } from '../protocol/reasons.ts';

const byCode: Readonly<Partial<Record<ReasonCode, string>>> = {
  kernel_unknown:
    'If the kernel was updated on purpose, capture a reference from a node you vouch for (assay reference capture); if not, take the node out of service and look for who changed it.',
  initrd_unknown:
    'If the initrd was rebuilt on purpose, capture a new reference; if not, take the node out of service and compare its initrd with a good one.',
  bootloader_unknown:
    'If the boot loader was updated on purpose, capture a new reference; if not, take the node out of service and reinstall the loader from its package.',
  firmware_unknown:
    'If the firmware was updated on purpose, capture a new reference; if not, take the node out of service and compare its firmware with the vendor’s.',
  pcr_mismatch:
    'Compare the boot with the reference (assay reference diff); no event explains the difference, so treat the node as changed until you know why.',
  no_reference: 'Capture one from a node you vouch for: assay reference capture NODE --name NAME.',
  cmdline_policy:
    'Compare the kernel command line with the expected one; if the change is wanted, capture a new reference.',
  secureboot_off: 'Switch Secure Boot on in the firmware setup, and reboot the node.',
  secureboot_policy:
    'Find who changed the Secure Boot keys (PK, KEK, db, dbx); restore them, or capture a new reference.',
  evidence_overdue:
    'See whether the node is up, its agent runs, and it reaches the server on the agents’ port.',
  evidence_raced: 'Nothing, if it passes; if it stays, look for what extends PCRs all the time.',
  rebooted: 'Wait for the agent to prove the new boot; if nothing comes, see whether the agent runs.',
  enrolment_pending:
    'See which TPMs wait (assay enrol list), compare the digest on the machine, and approve it: assay enrol approve NODE --ek DIGEST.',
  unsupported_tpm: 'See whether the TPM is switched on in the firmware setup and /dev/tpmrm0 exists.',
  no_boot_log:
    'See whether /sys/kernel/security/tpm0/binary_bios_measurements exists on the node and can be read.',
  log_incomplete:
    'The node sent a log before and does not now, or a part is missing: treat it as hidden until you know why.',
  log_replay_mismatch:
    'The log does not lead to the PCRs that the TPM signed: the log was changed, or something extended PCRs without it. Take the node out of service.',
  bank_unextended: 'Switch the SHA-256 bank on in the firmware setup, so that the firmware measures into it.',
  weak_bank: 'Switch the SHA-256 bank on in the firmware setup: SHA-1 alone proves nothing.',
  counter_rollback:
    'The TPM’s reset counter went back: is this another TPM? Take the node out of service and enrol it anew.',
  clone_suspected: 'Two machines answer as one: find both before you trust either.',
  channel_binding:
    'Let agents reach the server directly: a proxy that ends TLS between them breaks the proof.',
  ak_mismatch: 'Another TPM answers in this node’s name: see whether the machine or its TPM was exchanged.',
  ek_already_bound: 'This name or TPM is enrolled already: see whether the machine was exchanged or copied.',
  identity_claim_mismatch: 'See which machine claims this name; its TPM is enrolled under another.',
  revoked_reference: 'Update the node: what it booted was revoked.',
  token_rejected: 'Make a new join token: assay join-token create --node NODE --ttl 1h.',
  ek_untrusted_root:
    'Trust the vendor’s root (endorsementRoots of the server, --trust-roots offline), or pin the key: assay ek import FILE.',
  nonce_invalid: 'Old or foreign evidence was sent. If it is yours, export the bundle again.',
};

const byClass: Readonly<Record<ReasonClass, string>> = {
  drift:
    'If the change is wanted, capture a new reference from a node you vouch for; if not, treat the node as changed.',
  posture: 'Bring the node back to what the policy asks, or change the policy on purpose.',
  service: 'See whether the node, its agent and its TPM work; the state follows by itself.',
  failed: 'A proof failed: take the node out of service until you know whether it lies or is broken.',
};

/** What a person does next about a reason. */
export function nextStep(code: ReasonCode): string {
  return byCode[code] ?? byClass[classOf(code)];
}
