import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** Where the stub of a unified image measures its sections. */
const sectionPcr = 11;

/**
 * A boot of a unified image that a reference has, by its file too. Attack: sections that the system extended into PCR 11,
 * as no boot_aggregate shows.
 */
export function isUnified(boot: VouchedBoot, references: readonly PreparedReference[]): boolean {
  if (!boot.hasSections || references.length === 0) return boot.hasSections;
  return references.some(({ components }) => {
    const kernels = components.all.filter(
      ({ stage, pcr }) => stage === 'kernel' && (pcr === 4 || pcr === sectionPcr),
    );
    const present = new Set(
      boot.state.components.map((one) => referencedComponent(components, one, boot.texts)?.key),
    );
    return kernels.some(({ pcr }) => pcr === sectionPcr) && kernels.every(({ key }) => present.has(key));
  });
}

/** True for a section of a unified image that is compared with nothing, so that it may be called anything. */
export function isIdleSection(
  boot: VouchedBoot,
  { pcr }: { readonly pcr: number },
  references: readonly PreparedReference[],
): boolean {
  return pcr === sectionPcr && !references.every(hasSections) && !isUnified(boot, references);
}

function hasSections({ components }: PreparedReference): boolean {
  return components.all.some(({ pcr }) => pcr === sectionPcr);
}
