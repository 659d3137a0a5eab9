import { adviceOn } from '../protocol/advice.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import { aspects } from './aspects.ts';

const byCode = new Map(aspects.flatMap(({ advice }) => Object.entries(advice)));

/** What a person does next about a reason: the word of the aspect that knows the code, else that of the protocol. */
export function nextStep(code: ReasonCode, node: string | null = null, reference?: string): string {
  return adviceOn(code, node, byCode.get(code), reference);
}
