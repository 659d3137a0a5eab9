import { type Advice, adviceOn, type Known } from '../protocol/advice.ts';
import type { Reason } from '../protocol/verdict.ts';
import { aspects } from './aspects.ts';

const byCode = new Map(aspects.flatMap(({ advice }) => Object.entries(advice)));

/**
 * What a person does next about a reason: the word of the aspect that knows the code, else that of the protocol.
 * @param known of the node; what the reason itself says of it need not be in it
 */
export function nextStep(
  {
    code,
    reference,
    outOfForce,
    actual,
  }: Pick<Reason, 'code'> & Partial<Pick<Reason, 'reference' | 'outOfForce' | 'actual'>>,
  known: Known = {},
): Advice {
  const twin = code === 'ek_already_bound' ? (actual?.split(', ')[0] ?? null) : null;
  const step = adviceOn(code, { ...known, twin, reference: reference ?? null }, byCode.get(code));
  return outOfForce === undefined ? step : `${putInForce(outOfForce)}\n${step}`;
}

function putInForce(reference: string): Advice {
  return [
    `If you want nodes to boot what reference ${reference} contains, put it in force:`,
    `  assay reference approve ${reference} --reason "its boots are wanted"`,
  ].join('\n');
}
