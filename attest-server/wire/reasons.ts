/**
 * The closed list of reason codes, each with its class. The same code is the rejection, the finding, the
 * stored reason, the metric's label and what the operator reads.
 */
export const reasonClasses = ['drift', 'posture', 'service', 'failed'] as const;
export type ReasonClass = (typeof reasonClasses)[number];

const byClass = {
  drift: [
    'kernel_unknown initrd_unknown bootloader_unknown firmware_unknown pcr_mismatch no_reference',
    'ima_unknown_file fw_drift kernel_outdated tpm_firmware',
  ],
  posture: [
    'secureboot_off secureboot_policy secureboot_ambiguous cmdline_policy initrd_unmeasured root_unmeasured',
    'kexec_possible revoked_reference ima_policy_weak mount_not_encrypted path_not_covered luks_version',
    'luks_cipher luks_header_detached luks_extra_keyslot fw_missing_chain fw_policy_open dual_tables',
    'ssh_reachable kernel_tainted lockdown_off sysctl_policy escrow_missing key_cycle',
  ],
  service: [
    'evidence_overdue server_fault evidence_raced facts_unavailable fw_unreadable no_boot_log unsupported_tpm',
    'enrolment_pending change_expected rebooted resumed expired evidence_erased latched trial_enrolment',
  ],
  failed: [
    'identity_unproven ak_mismatch ak_name_mismatch ak_attributes ak_hierarchy weak_key ek_cert_key_mismatch',
    'ek_untrusted_root ek_already_bound clone_suspected channel_binding identity_claim_mismatch',
    'token_rejected role_denied malformed too_large sig_invalid not_tpm_generated wrong_attest_type',
    'nonce_invalid nonce_stale nonce_replayed pcr_selection pcr_digest_mismatch weak_bank bank_unextended',
    'bank_mismatch clock_rewind counter_rollback boot_correlation log_incomplete',
    'log_replay_mismatch boot_remeasured unverified_event event_data_mismatch separator_error kexec_detected ima_malformed',
    'ima_incomplete ima_violation ima_denied_file luks_null_cipher luks_header_changed luks_reencrypt_state',
    'luks_key_shared key_residue volume_exposed key_subject_mismatch lease_consumed lease_exhausted',
    'cap_missing cap_reverted key_withheld label_tamper audit_rollback',
  ],
} as const satisfies Record<ReasonClass, readonly string[]>;

type Words<S extends string> = S extends `${infer Head} ${infer Tail}` ? Head | Words<Tail> : S;
export type ReasonCode = Words<(typeof byClass)[ReasonClass][number]>;

const classes = new Map<string, ReasonClass>(
  reasonClasses.flatMap((name) =>
    byClass[name].flatMap((line) => line.split(' ').map((code) => [code, name] as const)),
  ),
);

/** Every code, in the order of the classes above. */
export const reasonCodes = [...classes.keys()] as readonly ReasonCode[];

export function isReasonCode(word: string): word is ReasonCode {
  return classes.has(word);
}

/** The class decides who is paged and what the breaker may hold; it is fixed per code. */
export function classOf(code: ReasonCode): ReasonClass {
  return classes.get(code) as ReasonClass;
}

/** True for a refusal of a TPM that a person may decide otherwise: it waits for an approval. */
export function mayWait(code: ReasonCode): boolean {
  return code === 'enrolment_pending' || code === 'ek_untrusted_root' || code === 'trial_enrolment';
}

const heldCodes = ['counter_rollback', 'clone_suspected'] as const satisfies readonly ReasonCode[];
/** Codes that no later evidence clears: only a person does. */
export type HeldCode = (typeof heldCodes)[number];

/** As stores and bundles say it: until 0.3.0 other firmware of a TPM was held, too. */
export const writtenHeldCodes = [...heldCodes, 'tpm_firmware'] as const;

/** The code that such a word holds. */
export function heldIn(code: ReasonCode | null | undefined): HeldCode | null {
  return heldCodes.find((held) => held === code) ?? null;
}
