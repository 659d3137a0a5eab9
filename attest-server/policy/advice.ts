import { adviceOn } from '../protocol/advice.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { Reason } from '../protocol/verdict.ts';
import { aspects } from './aspects.ts';

const byCode = new Map(aspects.flatMap(({ advice }) => Object.entries(advice)));

/** What a person does next about a reason: the word of the aspect that knows the code, else that of the protocol. */
export function nextStep(
  code: ReasonCode,
  node: string | null = null,
  { reference, outOfForce }: Pick<Reason, 'reference' | 'outOfForce'> = {},
): string {
  const step = adviceOn(code, node, byCode.get(code), reference);
  return outOfForce === undefined ? step : `${putInForce(outOfForce)}\n${step}`;
}

function putInForce(reference: string): string {
  return [
    `If reference ${reference} names boots that you want, put it in force:`,
    `  assay reference approve ${reference} --reason "its boots are wanted"`,
  ].join('\n');
}
