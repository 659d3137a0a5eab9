import { bankBytes, type PcrBank, pcrBanks } from '../../wire/messages.ts';
import type { EntryView } from './entry.ts';

/**
 * A hash over PCRs of one bank, `sha256:…`: the kernel extends PCR 10 with it before any user space runs, whether or not
 * there is an IMA policy. The first entry of a list that leads to the quoted PCR 10 in each bank: a PCR cannot be set back
 * without a reset, so that whoever runs later adds to the list, and changes nothing of its start.
 */
export type BootAggregate = `${PcrBank}:${string}`;

/**
 * Why a list proves none. `unquoted`: PCR 10 was not quoted; `unextended`: it is zero, as where the TPM's driver came
 * after IMA; `unreadable`: no list of IMA; `no_aggregate`: its first entry is something else, or a digest of nothing;
 * `not_replayed`: the list does not lead to PCR 10.
 */
export type AggregateProblem = 'unquoted' | 'unextended' | 'unreadable' | 'no_aggregate' | 'not_replayed';

/** The kernel's name for its first entry, and for the first one after each kexec. */
export const aggregateName = Buffer.from('boot_aggregate');

/** @param first entry of a list, its fields found */
export function aggregateIn(first: EntryView): BootAggregate | null {
  // Attack: of a violation the kernel extends 0xff, so that PCR 10 would not hold what the entry says.
  if (first.isViolation || !first.isNamed(aggregateName)) return null;
  const bank = pcrBanks.find((known) => known === first.algorithm);
  const { digest } = first;
  if (bank === undefined || digest.length !== bankBytes[bank] || digest.every((byte) => byte === 0))
    return null;
  return `${bank}:${digest.toString('hex')}`;
}
