import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { JudgedStage } from './judged-stage.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * False for what references know, and none of them as this: what a component is called is the log's word, and no
 * comparison by digests contradicts it.
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
  return known.length === 0 || known.some((one) => one.stage === stage);
}
