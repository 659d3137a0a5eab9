import type { PcrBank } from './messages.ts';
import type { ReasonCode } from './reasons.ts';

/**
 * A bank that the firmware leaves alone proves nothing, and takes nothing away from another one that it extends.
 * @param problems of the same boot @param banks those that were quoted
 */
export function isOfUnusedBank(
  { code }: { readonly code: ReasonCode },
  problems: readonly { readonly code: ReasonCode }[],
  banks: readonly { readonly bank: PcrBank }[],
): boolean {
  const unused = problems.filter((problem) => problem.code === 'bank_unextended').length;
  return code === 'bank_unextended' && unused < banks.filter(({ bank }) => bank !== 'sha1').length;
}
