import { z } from 'zod';
import { isReasonCode, type ReasonCode } from '../protocol/reasons.ts';
import { aspects, nodeStates, type Verdict } from '../protocol/verdict.ts';

const reasonCode = z.custom<ReasonCode>(
  (word) => typeof word === 'string' && isReasonCode(word),
  'not a reason code',
);
const source = z.enum(['tpm', 'host', 'server']);

/** A verdict as its JSON column holds it. What comes from a disk is checked as what comes from a network. */
const verdict: z.ZodType<Verdict> = z.object({
  state: z.enum(nodeStates),
  reasons: z.array(
    z.object({
      code: reasonCode,
      class: z.enum(['drift', 'posture', 'service', 'failed']),
      aspect: z.enum(aspects),
      severity: z.enum(['fail', 'warn', 'info']),
      source,
      expected: z.string().nullable(),
      actual: z.string().nullable(),
      text: z.string(),
      evidence: z.object({ digest: z.string(), position: z.string() }).nullable(),
    }),
  ),
  aspects: z.partialRecord(
    z.enum(aspects),
    z.object({ status: z.enum(['affirming', 'warning', 'contraindicated', 'none']), source }),
  ),
  group: z.string(),
  require: z.array(z.enum(aspects)),
  mode: z.enum(['observe', 'label', 'enforce']),
  policy: z.string(),
});

const texts = new WeakMap<Verdict, string>();

/** The JSON of a verdict. One that did not change is the same object, and is not written out again. */
export function verdictText(verdict: Verdict): string {
  let text = texts.get(verdict);
  if (text === undefined) {
    text = JSON.stringify(verdict);
    texts.set(verdict, text);
  }
  return text;
}

/** @throws Error naming the field */
export function parseVerdict(text: string): Verdict {
  const result = verdict.safeParse(JSON.parse(text));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new Error(`verdict field ${issue?.path.join('.')}: ${issue?.message}`);
}
