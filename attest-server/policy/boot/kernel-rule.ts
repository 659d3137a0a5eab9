import type { BootComponent, BootState } from '../../verify/boot/boot-state.ts';
import type { Finding } from '../finding.ts';
import { isCalledSo } from './called-so.ts';
import { isConstant } from './only-read.ts';
import type { PreparedReference } from './reference-set.ts';
import { ruleFinding } from './rule-finding.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * Where firmware, loaders and stubs measure a kernel. What the log calls one elsewhere is compared with nothing. Attack:
 * a partition table that is called a kernel.
 */
const kernelPcrs: ReadonlySet<number> = new Set([4, 9, 11]);

/** True if a kernel was measured: without one a boot says nothing of what runs. */
export function measuresKernel({ components }: Pick<BootState, 'components'>): boolean {
  return components.some(isKernel);
}

function isKernel(component: BootComponent): boolean {
  return component.stage === 'kernel' && kernelPcrs.has(component.pcr) && !isConstant(component);
}

export const noKernel = 'no kernel was measured';

/**
 * The same beside what references know. Attack: a file that they have as a loader's, and that the log of a boot without
 * a kernel calls one.
 */
export function knowsKernel(boot: VouchedBoot, references: readonly PreparedReference[]): boolean {
  return boot.state.components.some((one) => isKernel(one) && isCalledSo(boot, one, 'kernel', references));
}

/** Null too where a PCR that could hold it is not vouched for: that is reported as such. */
export function kernelFinding(boot: VouchedBoot, references: readonly PreparedReference[]): Finding | null {
  if (knowsKernel(boot, references) || !boot.vouches(4) || !boot.vouches(9)) return null;
  const text = `In this boot ${noKernel}, so it is not known what runs. Start the node with firmware or a loader that measures the kernel.`;
  return ruleFinding(boot, 'kernel_unknown', null, 'a kernel in PCR 4, 9 or 11', null, text);
}
