import type { BootComponent, BootState } from '../../verify/boot/boot-state.ts';
import type { Finding } from '../finding.ts';
import { isConstant } from './only-read.ts';
import { ruleFinding } from './rule-finding.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * Where firmware, loaders and stubs measure a kernel. What the log calls one elsewhere is compared with nothing. Attack:
 * a partition table that is called a kernel.
 */
const kernelPcrs: ReadonlySet<number> = new Set([4, 9, 11]);

/** True where a kernel was measured: without one a boot says nothing of what runs. */
export function measuresKernel({ components }: Pick<BootState, 'components'>): boolean {
  return components.some(isKernel);
}

function isKernel(component: BootComponent): boolean {
  return component.stage === 'kernel' && kernelPcrs.has(component.pcr) && !isConstant(component);
}

export const noKernel = 'no kernel was measured';

/** Null too where a PCR that could hold it is not vouched for: that is told as such. */
export function kernelFinding(boot: VouchedBoot): Finding | null {
  if (measuresKernel(boot.state) || !boot.vouches(4) || !boot.vouches(9)) return null;
  const text = `In this boot ${noKernel}: what runs is not known.`;
  return ruleFinding(boot, 'kernel_unknown', null, 'a kernel in PCR 4, 9 or 11', null, text);
}
