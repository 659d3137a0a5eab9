import type { ReasonCode } from '../wire/reasons.ts';
import type { AspectName } from '../wire/verdict.ts';

const byCode: Readonly<Partial<Record<ReasonCode, string>>> = {
  kernel_unknown: 'kernel',
  kexec_detected: 'kernel',
  kexec_possible: 'kernel',
  initrd_unknown: 'initrd',
  initrd_unmeasured: 'initrd',
  cmdline_policy: 'kernel command line',
  bootloader_unknown: 'boot loader',
  firmware_unknown: 'firmware',
  separator_error: 'firmware',
  secureboot_off: 'Secure Boot',
  secureboot_policy: 'Secure Boot',
  secureboot_ambiguous: 'Secure Boot',
  no_boot_log: 'boot log',
  log_incomplete: 'boot log',
  log_replay_mismatch: 'boot log',
  unverified_event: 'boot log',
  event_data_mismatch: 'boot log',
  tpm_firmware: 'TPM',
  clock_rewind: 'TPM',
  counter_rollback: 'TPM',
  clone_suspected: 'TPM',
};

/** The part of a machine that a reason speaks of; the aspect where the code names none. */
export function componentOf({
  code,
  aspect,
}: {
  readonly code: ReasonCode;
  readonly aspect: AspectName;
}): string {
  return byCode[code] ?? aspect;
}
