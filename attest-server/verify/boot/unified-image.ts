import { digestsOf } from './known-digests.ts';
import { hasDigest, type KnownDigest, type VouchedLog } from './vouched-log.ts';

/** The sections that systemd-stub measures into PCR 11. UAPI specification of unified kernel images, 1.0. */
const sectionNames =
  '.linux .osrel .cmdline .initrd .ucode .splash .dtb .dtbauto .hwids .uname .sbat .pcrpkey .profile .efifw';

const nameDigests: readonly KnownDigest[] = sectionNames.split(' ').map(nameDigest);

/** PCR of unified kernel images, and what its name says before the command line in it. */
export const unifiedPcr = 11;
export const commandLineSection: KnownDigest = nameDigest('.cmdline');

function nameDigest(name: string): KnownDigest {
  return digestsOf(Buffer.from(`${name}\0`));
}

/**
 * True if the event measures the name of a section: the stub measures each name, and then what the section holds.
 * Only the name's digest can be recomputed from the log.
 */
export function isSectionName(vouched: VouchedLog, event: number): boolean {
  return nameDigests.some((known) => hasDigest(vouched, event, known));
}
