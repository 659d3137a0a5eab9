import type { ReasonCode } from '../../wire/reasons.ts';
import type { AspectJudgement, ClearedFindings, JudgedNode } from '../aspect.ts';
import type { Finding } from '../finding.ts';
import { type Keyed, keyed } from '../remembering.ts';
import { capMissing, capReverted } from './findings.ts';
import type { DiskRules } from './rules.ts';

/** The cap of a boot, by the rule on leases. */
export interface LeaseJudgement {
  readonly findings: readonly Finding[];
  /** Codes of it that would have been found again, were it still so. */
  readonly takesBack: readonly ReasonCode[];
}

/** PCR 15 is quoted in each answer: no part can hide it, and none is needed to see it. */
export function judgeLease(
  { lease }: Pick<DiskRules, 'lease'>,
  { cap: { uncapped, due, reverted } }: Pick<JudgedNode, 'cap'>,
): Keyed<LeaseJudgement> {
  if (due === 'never' && reverted.length === 0) return nothingDue;
  const mayLack = lease === 'required' && due !== 'never' && uncapped.length > 0;
  const isMissing = mayLack && due === 'now';
  const words = [
    isMissing ? uncapped.map(({ bank, state }) => `${bank} ${state}`).join() : mayLack,
    reverted.join(),
  ];
  return keyed(words, {
    findings: [
      ...(reverted.length > 0 ? [capReverted(reverted)] : []),
      ...(isMissing ? [capMissing(uncapped)] : []),
    ],
    takesBack: leaseCodes.filter((code) => !(code === 'cap_missing' ? mayLack : reverted.length > 0)),
  });
}

/** No such finding was ever made. */
const nothingDue: Keyed<LeaseJudgement> = keyed([], { findings: [], takesBack: [] });
const leaseCodes = ['cap_missing', 'cap_reverted'] as const satisfies readonly ReasonCode[];

/** The judgement of what the node says of its disks, and this, which its TPM says. */
export function withLease(judgement: AspectJudgement, lease: LeaseJudgement): AspectJudgement {
  if (lease === nothingDue.value) return judgement;
  const { findings, affirmed, takesBack = affirmed ? { allBut: [] } : { only: [] } } = judgement;
  return {
    ...judgement,
    findings: [...lease.findings, ...findings],
    affirmed: affirmed && lease.findings.length === 0,
    takesBack: withCodes(takesBack, lease.takesBack),
  };
}

function withCodes(cleared: ClearedFindings, codes: readonly ReasonCode[]): ClearedFindings {
  if ('only' in cleared) return { only: [...cleared.only, ...codes] };
  const others = leaseCodes.filter((code) => !codes.includes(code));
  return { allBut: [...cleared.allBut, ...others], also: codes };
}
