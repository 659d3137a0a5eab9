import type { BootProblem } from '../../verify/boot/boot-problem.ts';
import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { type PcrValues, pcrValue } from '../../wire/pcr-values.ts';
import { comparedBanks } from './compared-pcrs.ts';
import { replays } from './replays.ts';
import type { BootRules } from './rules.ts';

/**
 * PCRs onto which a log does not replay and that the policy compares by value, each as one component of the firmware: its
 * digests are the quoted values. Attack: a node leaves events out so that what its firmware measured is not compared. Then
 * the value is, and that has what was left out.
 */
export function valuesIn(
  problems: readonly BootProblem[],
  banks: readonly PcrValues[],
  { byValue }: Pick<BootRules, 'byValue'>,
): readonly BootComponent[] {
  if (byValue.length === 0 || problems.length === 0) return none;
  return byValue.flatMap((pcr) => {
    if (replays(problems, pcr)) return [];
    if (banks.some((bank) => pcrValue(bank, pcr) === null)) return [];
    const digests: Record<string, string> = {};
    for (const bank of comparedBanks) {
      const quoted = banks.find((one) => one.bank === bank);
      const value = quoted && pcrValue(quoted, pcr);
      if (value) digests[bank] = value.toString('hex');
    }
    return Object.keys(digests).length === 0 ? [] : [pcrAsWhole(pcr, digests)];
  });
}

const none: readonly BootComponent[] = [];

function pcrAsWhole(pcr: number, digests: BootComponent['digests']): BootComponent {
  return {
    event: -1,
    pcr,
    type: 'value',
    stage: 'firmware',
    kind: 'value',
    digests,
    text: null,
    content: null,
    describes: `value of PCR ${pcr}`,
  };
}

/** Problems of the log, except that it does not replay onto these; a PCR without any event stays a problem. */
export function besidesValues(
  problems: readonly BootProblem[],
  values: readonly BootComponent[],
): readonly BootProblem[] {
  if (values.length === 0) return problems;
  const accepted = new Set(values.map(({ pcr }) => pcr));
  return problems.filter(
    ({ code, pcr }) => code !== 'log_replay_mismatch' || pcr === null || !accepted.has(pcr),
  );
}
