import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { JudgedStage } from './judged-stage.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { isIdleSection } from './unified-boot.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * False for what references know, and none of them as this, and for what is compared with nothing: what a component is
 * called is the log's word.
 */
export function isCalledSo(
  boot: VouchedBoot,
  component: BootComponent,
  stage: JudgedStage,
  references: readonly PreparedReference[],
): boolean {
  if (isIdleSection(boot, component, references)) return false;
  const known = references.flatMap(
    ({ components }) => referencedComponent(components, component, boot.texts) ?? [],
  );
  return known.length === 0 || known.some((one) => one.stage === stage);
}
