import type { Introduction, ServerMessage } from '../protocol/messages.ts';

/**
 * The message as this agent takes it. One that does not speak `codes` is of 0.1.0 and refuses a message with any code
 * of later: a verdict goes without those, and the refusal for such a reason is `malformed`.
 */
export function inCodesOf(hello: Introduction | null, message: ServerMessage): ServerMessage {
  if (hello?.speaks.includes('codes')) return message;
  if (message.type === 'verdict') {
    if (message.codes.every(isFirst)) return message;
    return { ...message, codes: message.codes.filter(isFirst) };
  }
  if (message.type === 'error' && !isFirst(message.code)) return { type: 'error', code: 'malformed' };
  return message;
}

const isFirst = (code: string) => firstCodes.has(code);

/** The reason codes of 0.1.0, for ever. */
const firstCodes: ReadonlySet<string> = new Set(
  (
    'kernel_unknown initrd_unknown bootloader_unknown firmware_unknown pcr_mismatch no_reference ' +
    'ima_unknown_file fw_drift kernel_outdated secureboot_off secureboot_policy secureboot_ambiguous ' +
    'cmdline_policy initrd_unmeasured root_unmeasured kexec_possible revoked_reference ima_policy_weak ' +
    'mount_not_encrypted path_not_covered luks_version luks_cipher luks_header_detached ' +
    'luks_extra_keyslot fw_missing_chain fw_policy_open dual_tables ssh_reachable kernel_tainted ' +
    'lockdown_off escrow_missing key_cycle evidence_overdue evidence_raced facts_unavailable ' +
    'fw_unreadable no_boot_log unsupported_tpm enrolment_pending change_expected rebooted resumed expired ' +
    'evidence_erased latched identity_unproven ak_mismatch ak_name_mismatch ak_attributes ak_hierarchy ' +
    'weak_key ek_cert_key_mismatch ek_untrusted_root ek_already_bound clone_suspected channel_binding ' +
    'identity_claim_mismatch token_rejected role_denied malformed too_large sig_invalid not_tpm_generated ' +
    'wrong_attest_type nonce_invalid nonce_stale nonce_replayed pcr_selection pcr_digest_mismatch ' +
    'weak_bank bank_unextended bank_mismatch clock_rewind counter_rollback tpm_firmware boot_correlation ' +
    'log_incomplete log_replay_mismatch unverified_event event_data_mismatch separator_error ' +
    'kexec_detected ima_malformed ima_incomplete ima_violation ima_denied_file luks_null_cipher ' +
    'luks_header_changed luks_reencrypt_state luks_key_shared key_residue volume_exposed ' +
    'key_subject_mismatch lease_consumed lease_exhausted cap_missing cap_reverted key_withheld ' +
    'label_tamper audit_rollback'
  ).split(' '),
);
