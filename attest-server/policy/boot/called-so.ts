import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { JudgedStage } from './judged-stage.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** Of a unified image's sections, which are compared with references that have some. */
const sectionPcr = 11;

/**
 * False for what references know, and none of them as this, and for what is compared with nothing: what a component is
 * called is the log's word.
 */
export function isCalledSo(
  { masked }: Pick<VouchedBoot, 'masked'>,
  component: BootComponent,
  stage: JudgedStage,
  references: readonly PreparedReference[],
): boolean {
  const known = references.flatMap(
    ({ components }) => referencedComponent(components, component, masked) ?? [],
  );
  if (known.length > 0) return known.some((one) => one.stage === stage);
  return component.pcr !== sectionPcr || references.every(hasSections);
}

function hasSections({ components }: PreparedReference): boolean {
  return components.all.some(({ pcr }) => pcr === sectionPcr);
}
