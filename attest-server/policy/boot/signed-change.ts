import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { StageDifference } from './compare-stages.ts';
import type { JudgedStages } from './judge-stages.ts';
import type { BootRules } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * True if an allowed signer vouches for all that differs: firmware and shim start nothing else while Secure Boot is on,
 * and they measure the authority of each image. It cannot be determined which image it was for, so that all must be allowed.
 * @param secureBootHolds no rule on Secure Boot is broken, as far as the policy has any
 * @param causes those of `stages.differing` that are reported
 */
export function isSignedChange(
  boot: VouchedBoot,
  rules: BootRules,
  stages: JudgedStages,
  causes: readonly StageDifference[],
  secureBootHolds: boolean,
): boolean {
  const { differing, misplaced, late, foreign, unseen, uncovered } = stages;
  if (differing.length === 0 || !secureBootHolds || !isChecked(boot)) return false;
  // Also the settings and authorities must be covered: by a reference, or by the rules that found nothing.
  if (misplaced.length + foreign.length + unseen.length + uncovered.length > 0 || late !== null) return false;
  const images = differing.flatMap(({ stage, unknown }) =>
    stage === 'loader' || stage === 'kernel' ? unknown.filter(isImage) : [],
  );
  if (images.length === 0) return false;
  const kernels = differing.find(({ stage }) => stage === 'kernel')?.unknown ?? [];
  const kernelImages = kernels.filter(isImage).length;
  // What is read into PCR 9 may be an initrd, whatever the log calls it: it counts only where policy takes any.
  const takesRead = rules.scope.initrd === 'unpinned';
  const readKernels = kernels.filter(({ pcr }) => pcr === 9).length;
  const isCovered = (difference: StageDifference): boolean => {
    const { stage, unknown, missing } = difference;
    switch (stage) {
      case 'kernel':
        // Of each file that GRUB read shim measured the image.
        return unknown.every(
          (one) =>
            isImage(one) || one.pcr === 11 || (one.pcr === 9 && takesRead && readKernels <= kernelImages),
        );
      case 'loader':
        // With a new kernel also the commands of a signed loader: everything that it may start or read is judged separately.
        return (
          unknown.every((one) => isImage(one) || (kernelImages > 0 && isCommand(one))) &&
          missing.every(({ pcr, kind }) => pcr === 4 || (kernelImages > 0 && pcr === 8 && kind === 'command'))
        );
      case 'initrd':
        // A section of a signed image, and nothing that a loader read.
        return unknown.every(({ pcr }) => pcr === 11) && missing.every(({ pcr }) => pcr === 11);
      case 'cmdline':
        // The digest over the image's name; other words are reported as a cause.
        return takesRead && !causes.includes(difference) && unknown.every(({ pcr }) => pcr === 9);
      default:
        return false;
    }
  };
  return differing.every(isCovered);
}

function isChecked({ state: { secureBoot }, vouches }: VouchedBoot): boolean {
  const { enabled, validationOff, authorities } = secureBoot;
  return enabled === true && !validationOff && authorities.length > 0 && vouches(4) && vouches(7);
}

/** An image that the firmware, or shim for a loader, had to verify: in PCR 4 by its Authenticode digest. */
function isImage({ pcr, kind }: BootComponent): boolean {
  return pcr === 4 && kind === 'code';
}

function isCommand({ pcr, kind, text }: BootComponent): boolean {
  return pcr === 8 && kind === 'command' && text !== null;
}
