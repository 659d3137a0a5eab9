import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { StageDifference } from './compare-stages.ts';
import type { JudgedStage } from './judged-stage.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * The differences that are causes, in the order of a boot. What merely announces or wraps another one, or comes with
 * it, is left out: GRUB's script around a new kernel, a unified image around its sections, the initrd made for a
 * kernel. All of them stay differences: a boot with any is not as referenced.
 */
export function causesOf(boot: VouchedBoot, differing: readonly StageDifference[]): StageDifference[] {
  const kernel = differing.find(({ stage }) => stage === 'kernel');
  const others = (...stages: JudgedStage[]) => differing.some(({ stage }) => stages.includes(stage));
  const wrapped = kernel !== undefined && isWrapper(boot, kernel) && others('initrd', 'cmdline');
  const newKernel = kernel !== undefined && !wrapped && !(others('secureboot') && unchecked(boot, kernel));
  const causes = differing.filter((difference) => {
    switch (difference.stage) {
      case 'kernel':
        return newKernel;
      case 'initrd':
        return !newKernel;
      case 'cmdline':
        return !(newKernel && followsImageName(boot, difference));
      case 'loader':
        return !(isScript(difference) && others('kernel', 'initrd', 'cmdline'));
      default:
        return true;
    }
  });
  return causes.length > 0 ? causes : [...differing];
}

/** Where Secure Boot is off nobody has the firmware load the kernel as an image: what the loader read is the same. */
function unchecked({ state }: VouchedBoot, { unknown, missing }: StageDifference): boolean {
  return state.secureBoot.enabled === false && unknown.length === 0 && missing.every(({ pcr }) => pcr === 4);
}

/** A kernel image out of a file that started another kernel image: the unified image around it. */
function isWrapper({ state }: VouchedBoot, { unknown, missing }: StageDifference): boolean {
  const images = state.components.filter((one) => one.stage === 'kernel' && one.pcr === 4);
  const inner = images.at(-1);
  const wraps = (one: BootComponent) => one.pcr === 4 && one !== inner && one.describes.includes('\\');
  return (
    images.length > 1 &&
    unknown.every(wraps) &&
    missing.every(({ pcr, description }) => pcr === 4 && description.includes('\\'))
  );
}

/** The lines that the log has as text are as referenced: what is left is a digest over the image's name too. */
function followsImageName({ judged }: VouchedBoot, { unknown, missing }: StageDifference): boolean {
  return (
    unknown.every(({ text }) => text === null) &&
    missing.every(({ line }) => line === null) &&
    judged.some(({ stage, component }) => stage === 'cmdline' && component.text !== null)
  );
}

/** Commands, configuration and files of a loader; not the loader itself. */
function isScript({ unknown, missing }: StageDifference): boolean {
  return unknown.every(({ pcr }) => pcr >= 8) && missing.every(({ pcr }) => pcr !== null && pcr >= 8);
}
