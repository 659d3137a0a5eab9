import { z } from 'zod';
import { suggestion } from '../formats/nearest.ts';
import { reasonCodes } from '../wire/reasons.ts';
import { nodeStates } from '../wire/verdict.ts';

/** One requirement on the labels of a node: `key=value`, `key!=value` (also without the key), `key`, `!key`. */
interface LabelRule {
  readonly key: string;
  /** Null: whatever it is. */
  readonly value: string | null;
  /** Whether the node must have it, or must not. */
  readonly has: boolean;
}
export type Selector = readonly LabelRule[];

/** Which nodes a list is asked for: parameters of `GET /v1/nodes`, flags of `assay get nodes`. Lists stand with commas. */
export const nodeFilter = z.strictObject({
  state: z.string().transform(words('state', nodeStates)).optional(),
  /** A code of any of the node's reasons, not of the first alone. */
  reason: z.string().transform(words('reason code', reasonCodes)).optional(),
  group: z.string().transform(parts).optional(),
  selector: z
    .string()
    .transform((text, context): Selector => parseSelector(text, (fault) => refuse(context, fault)))
    .optional(),
});
export type NodeFilter = z.output<typeof nodeFilter>;

/** As Kubernetes does: a label that is missing is not equal to any value. */
export function selects(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every(({ key, value, has }) => {
    const found = Object.hasOwn(labels, key) ? labels[key] : undefined;
    return has === (found !== undefined && (value === null || found === value));
  });
}

type RefinementContext = z.core.$RefinementCtx;

function refuse(context: RefinementContext, message: string): void {
  context.addIssue({ code: 'custom', message });
}

/** Limit on the words of one list: a longer one would cost the server more than it tells. */
const mostWords = 100;

/** Words of a closed list; the first wrong one is named with the one that was probably meant. */
export function words<Word extends string>(what: string, known: readonly Word[]) {
  return (text: string, context: RefinementContext): readonly Word[] => {
    const given = parts(text, context);
    const wrong = given.find((word) => !known.some((each) => each === word));
    if (wrong !== undefined && wrong !== '') {
      const listed = known.length > 12 ? '' : `; there are ${known.join(', ')}`;
      refuse(context, `${wrong.slice(0, 64)} is no ${what}${suggestion(wrong, known) || listed}`);
    }
    return known.filter((word) => given.includes(word));
  };
}

function parts(text: string, context: RefinementContext): readonly string[] {
  const given = text.split(',').map((part) => part.trim());
  if (given.includes('')) refuse(context, 'a word is empty: write them like a,b');
  if (given.length > mostWords) refuse(context, `there are more than ${mostWords} words`);
  return given.slice(0, mostWords);
}

const label = /^(?:[a-z0-9][a-z0-9.-]{0,252}\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

function parseSelector(text: string, fault: (text: string) => void): Selector {
  const given = text.split(',');
  if (given.length > mostWords) {
    fault(`there are more than ${mostWords} labels`);
    return [];
  }
  return given.flatMap((part) => {
    const [, not = '', key = '', equals = '', value = ''] =
      /^(!?)([^=!\s]*)\s*(?:(!=|==?)\s*(.*))?$/.exec(part.trim()) ?? [];
    const isRule = label.test(key) && labelValue.test(value) && (not === '' || equals === '');
    if (isRule) return [{ key, value: equals === '' ? null : value, has: not === '' && equals !== '!=' }];
    fault(
      `${part.trim().slice(0, 64) || 'nothing'} is not a label: write key=value, key!=value, key or !key`,
    );
    return [];
  });
}
