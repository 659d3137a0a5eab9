import type { ReasonCode } from '../../attest-server/wire/reasons.ts';

/** Where a code is found. */
export const findingPlaces = [
  ...([
    'service',
    'enrolment',
    'quote',
    'time',
    'log',
    'boot',
    'runtime',
    'disk',
    'firewall',
    'host',
    'keys',
    'server',
  ] as const),
  // No part of this version gives it.
  'later',
] as const;
export type FindingPlace = (typeof findingPlaces)[number];

/** What each code says, as a sentence for a person; what to do next is in `wire/advice.ts` and the aspects. */
export const meanings: Readonly<Record<ReasonCode, readonly [FindingPlace, string]>> = {
  evidence_overdue: [
    'service',
    'The node has not proven itself for longer than a verdict counts. The text says how its connection ended, and what its agent said last.',
  ],
  server_fault: [
    'service',
    'The server could not judge or store what the node sent. Nothing is known against the node.',
  ],
  evidence_raced: [
    'service',
    'PCRs changed each time while the agent collected its evidence, so that log and quote never belonged together.',
  ],
  facts_unavailable: [
    'service',
    'The agent could not read what an aspect is judged by, or a proof that the kernel may give is missing. The text says which.',
  ],
  unsupported_tpm: [
    'service',
    'The machine has no usable TPM 2.0, or the policy says that machines of its group have none.',
  ],
  rebooted: [
    'service',
    'The TPM was reset since the node was last seen: the new boot is not proven yet. At `info`: it is proven, and the TPM’s clock started again.',
  ],
  change_expected: [
    'service',
    'Somebody announced a change of this node’s boot (`assay expect`), and it is not complete yet.',
  ],
  resumed: ['service', 'The machine slept and woke: its TPM was restarted, and its PCRs were reset.'],

  enrolment_pending: [
    'enrolment',
    'The TPM proved itself, but nobody has confirmed that it belongs to this node.',
  ],
  trial_enrolment: [
    'enrolment',
    'The TPM enrolled while the server was on trial, so it may be software, and nobody has approved it since.',
  ],
  identity_unproven: [
    'enrolment',
    'Nobody vouches for this TPM’s key, or the TPM has another class than the policy requires, or nothing proves that the attestation key is in it.',
  ],
  ak_mismatch: ['enrolment', 'The quote was signed by a key other than the node’s enrolled one.'],
  ak_name_mismatch: ['enrolment', 'The attestation key’s name differs from the certified one.'],
  ak_attributes: [
    'enrolment',
    'The attestation key is not a restricted signing key that cannot leave the TPM: it could sign anything.',
  ],
  ak_hierarchy: ['enrolment', 'The attestation key is not a primary key of the endorsement hierarchy.'],
  weak_key: ['enrolment', 'A key of the TPM is too short, or uses an algorithm that is not accepted.'],
  ek_cert_key_mismatch: ['enrolment', 'The certificate in the TPM is for another key.'],
  ek_untrusted_root: [
    'enrolment',
    'No trusted authority of a TPM maker vouches for this TPM, and this enrolment method needs one.',
  ],
  ek_already_bound: [
    'enrolment',
    'The name belongs to another TPM, or the TPM is also enrolled under another name.',
  ],
  identity_claim_mismatch: [
    'enrolment',
    'The machine claims another identity than its key, its token or its Node in the cluster.',
  ],
  token_rejected: [
    'enrolment',
    'A token is wrong, used, expired, or belongs to another node: a join token, an agent’s cluster token, or an API token.',
  ],
  role_denied: [
    'enrolment',
    'A program or person asked for something that its role does not allow, such as approving its own capture.',
  ],
  channel_binding: [
    'enrolment',
    'The evidence was signed for another TLS connection: something is between agent and server, or relayed it.',
  ],

  malformed: ['quote', 'The received data is malformed. The text says where.'],
  too_large: [
    'quote',
    'The received data is larger than the server accepts, or more than one node may send.',
  ],
  sig_invalid: ['quote', 'The signature does not match the data.'],
  not_tpm_generated: [
    'quote',
    'The signed data was not made by a TPM: it lacks the value that each TPM begins with.',
  ],
  wrong_attest_type: ['quote', 'The TPM signed something other than a quote.'],
  nonce_invalid: ['quote', 'The quote signs another nonce than the server’s, or other parts.'],
  nonce_stale: ['quote', 'The answer came after its deadline, or answers an older challenge.'],
  nonce_replayed: ['quote', 'A challenge was answered twice.'],
  pcr_selection: ['quote', 'The quote covers other PCRs than requested.'],
  pcr_digest_mismatch: ['quote', 'The PCR values sent are not those that the TPM signed.'],
  weak_bank: ['quote', 'Only SHA-1 is quoted, or a bank that the TPM had at enrolment is missing.'],

  clock_rewind: ['time', 'The clock of the TPM went back within one boot.'],
  counter_rollback: [
    'time',
    'A counter of the TPM went back: the TPM was cleared, or a snapshot of it was restored. Stays until an approval.',
  ],
  clone_suspected: [
    'time',
    'Two machines answer with one TPM: a virtual TPM was copied. Stays until an approval.',
  ],
  tpm_firmware: [
    'time',
    'The TPM’s firmware changed with this boot, a warning; or the policy denies its version.',
  ],
  boot_correlation: [
    'time',
    'The TPM was reset while the kernel claims that it kept running; or the quotes of one answer are from two boots.',
  ],
  kexec_detected: [
    'time',
    'Another kernel runs than the one in the boot log, without a reset of the TPM: kexec started it.',
  ],

  no_boot_log: ['log', 'The node sent no boot log, but the policy judges something that needs one.'],
  log_incomplete: [
    'log',
    'The boot log ends before what the TPM signed, or is gone although the node sent one before.',
  ],
  log_replay_mismatch: [
    'log',
    'The events of the boot log do not lead to the PCR values that the TPM signed: the log is not that of this boot.',
  ],
  boot_remeasured: [
    'log',
    'The kernel itself shows that PCRs 0 to 9 had other values when it started: something extended them afterwards.',
  ],
  unverified_event: [
    'log',
    'The log has an event whose text nothing vouches for, in a place where it matters. At `info`: a PCR was compared by its value, as the policy says.',
  ],
  event_data_mismatch: [
    'log',
    'The text of an event that yields facts is not what was measured: somebody changed the log.',
  ],
  separator_error: [
    'log',
    'The separator between firmware and system is missing or wrong, or occurs twice only in PCR 7.',
  ],
  bank_unextended: ['log', 'The firmware measured nothing into a bank that the TPM has.'],
  bank_mismatch: ['log', 'Two banks of the TPM show two different boots.'],

  no_reference: [
    'boot',
    'Nothing in force to compare with: no reference for this group, or none of this kind.',
  ],
  kernel_unknown: ['boot', 'No reference in force has the measured kernel, or no kernel was measured.'],
  initrd_unknown: ['boot', 'No reference in force has the measured initrd.'],
  bootloader_unknown: [
    'boot',
    'No reference in force has the boot loader, its configuration, or a file that it read.',
  ],
  firmware_unknown: ['boot', 'No reference in force has the measured firmware, or one of its drivers.'],
  pcr_mismatch: ['boot', 'The boot differs from the reference, and no known event explains where.'],
  cmdline_policy: ['boot', 'The kernel’s command line is not one that the reference or the policy allows.'],
  secureboot_off: ['boot', 'Secure Boot was off in this boot.'],
  secureboot_policy: ['boot', 'Keys or settings of Secure Boot changed, or do not meet the policy.'],
  secureboot_ambiguous: ['boot', 'The state of Secure Boot was measured more than once, so it is ambiguous.'],
  initrd_unmeasured: [
    'boot',
    'The boot measured no initrd although one is expected, or the boot loader gave the kernel an add-on that no reference has.',
  ],
  kexec_possible: ['boot', 'Root can start another kernel without a reset, which the TPM does not notice.'],
  revoked_reference: ['boot', 'The finding is in a revoked reference: it is known to be bad.'],

  ima_unknown_file: [
    'runtime',
    'The node ran or read a file, or its kernel loaded a key, that no reference in force has.',
  ],
  ima_denied_file: ['runtime', 'The node ran or read a file that the policy denies.'],
  ima_violation: [
    'runtime',
    'A file was written to while IMA measured it, so that nobody knows what was read.',
  ],
  ima_policy_weak: [
    'runtime',
    'The kernel measures less than the policy requires, or nothing proves what it measures.',
  ],
  ima_incomplete: ['runtime', 'IMA’s list is missing, or does not lead to the PCR 10 that the TPM signed.'],
  ima_malformed: ['runtime', 'No kernel writes an IMA list like the one that the node sent.'],

  mount_not_encrypted: ['disk', 'A path that the policy protects is not on an encrypted volume.'],
  path_not_covered: [
    'disk',
    'A path that the policy protects does not exist, or a part of it is not encrypted.',
  ],
  luks_version: [
    'disk',
    'The volume is of a kind that the policy does not allow, such as LUKS1 or plain dm-crypt.',
  ],
  luks_cipher: ['disk', 'The cipher or the size of its key is not one that the policy allows.'],
  luks_null_cipher: ['disk', 'The volume claims to be encrypted, but its cipher encrypts nothing.'],
  luks_header_changed: ['disk', 'The LUKS header differs from the reference, or from the first one seen.'],
  luks_header_detached: ['disk', 'The LUKS header is not on its volume.'],
  luks_extra_keyslot: ['disk', 'More keys open the volume than the reference or the policy allows.'],
  luks_reencrypt_state: ['disk', 'The volume is being re-encrypted or decrypted: a part of it may be open.'],
  luks_key_shared: ['disk', 'Two nodes have a volume with the same UUID or key: one is a copy of the other.'],
  key_residue: [
    'disk',
    'Keys are left where other programs can find them, or memory is swapped out unencrypted.',
  ],

  cap_missing: [
    'disk',
    'The boot was not capped in time: PCR 15 does not show in each bank that its right to disk keys has ended.',
  ],
  cap_reverted: ['disk', 'The boot was capped, and PCR 15 does not show it any more.'],

  fw_drift: ['firewall', 'The firewall rules differ from the reference.'],
  fw_missing_chain: ['firewall', 'A chain that the reference or the policy requires is missing.'],
  fw_policy_open: ['firewall', 'The rules let in what the reference keeps out or the policy forbids.'],
  dual_tables: [
    'firewall',
    'nf_tables and iptables-legacy both have rules for one hook: they may undo each other.',
  ],
  fw_unreadable: ['firewall', 'The rules could not be read or parsed.'],

  ssh_reachable: ['host', 'SSH listens on the node, but the policy requires it closed.'],
  kernel_outdated: ['host', 'The running kernel is older than the policy requires.'],
  kernel_tainted: [
    'host',
    'The kernel reports that it was changed while running, or loaded an unsigned module.',
  ],
  lockdown_off: ['host', 'The kernel is not locked down: root can change it while it runs.'],
  sysctl_policy: ['host', 'A kernel setting differs from the policy.'],

  label_tamper: ['server', 'Somebody else changed the marks of Assay on a Node. The server restored them.'],
  latched: ['server', 'Trust was made irrevocable in this cluster, and the request would loosen it.'],
  audit_rollback: [
    'server',
    'The audit log is shorter than, or differs from, the one that was signed: the database was replaced or rolled back.',
  ],
  evidence_erased: ['server', 'Evidence was erased; the audit log keeps its digests.'],

  expired: ['later', 'A value with a limited lifetime has expired.'],
  root_unmeasured: [
    'keys',
    'Nothing measured or appraises the root file system, so that the node gets no disk key.',
  ],
  volume_exposed: ['later', 'A volume was open while the node was not proven.'],
  escrow_missing: ['keys', 'The policy names no recipient who could recover the volume.'],
  key_cycle: ['keys', 'The server stands on the volume whose key it would have to release.'],
  key_subject_mismatch: [
    'keys',
    'A node asked for the key of a volume that nobody made, or that belongs to another node or TPM.',
  ],
  key_withheld: ['keys', 'The server releases no key, for a reason that has no code of its own.'],
  lease_consumed: [
    'keys',
    'A key was asked for after this boot had been capped: it was told to get no more keys.',
  ],
  lease_exhausted: ['keys', 'This boot got the key of the volume as often as one boot may.'],
};
