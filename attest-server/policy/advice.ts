import { declareActive } from '../formats/declared.ts';
import { kindWords, type ReferenceKind } from '../formats/reference.ts';
import { type Advice, type AdviceContext, adviceOn } from '../wire/advice.ts';
import type { AspectName, Reason } from '../wire/verdict.ts';
import type { Aspect } from './aspect.ts';
import { aspects } from './aspects.ts';

/** The advice for a code that several aspects know, and a reason that names none: that of the first of the list. */
const byCode = new Map(aspects.toReversed().flatMap(({ advice }) => Object.entries(advice)));
const byAspect = new Map<AspectName, Aspect<AspectName, unknown>['advice']>(
  aspects.map(({ name, advice }) => [name, advice]),
);
const byExpected = new Map(aspects.flatMap(({ adviceByExpected }) => [...(adviceByExpected ?? [])]));

/**
 * The next step for a person on a reason: the advice of its aspect for the code, else that of the protocol.
 * @param known of the node; what the reason itself says of it need not be in it
 */
export function nextStep(
  {
    code,
    aspect,
    reference,
    outOfForce,
    expected,
    actual,
    value,
    detail,
  }: Pick<Reason, 'code'> &
    Partial<Pick<Reason, 'aspect' | 'reference' | 'outOfForce' | 'expected' | 'actual' | 'value' | 'detail'>>,
  known: AdviceContext = {},
): Advice {
  const twin = code === 'ek_already_bound' ? (actual?.split(', ')[0] ?? null) : null;
  const file = (value === undefined ? null : /^file ([0-9a-f]+)$/.exec(value)?.[1]) ?? null;
  const path = (value === undefined ? null : initrdPath.exec(value)?.[1]) ?? null;
  const its = aspect === undefined ? byCode.get(code) : (byAspect.get(aspect)?.[code] ?? byCode.get(code));
  const step = adviceOn(
    code,
    { ...known, twin, file, path, reference: reference ?? null },
    byExpected.get(expected ?? '') ?? its,
  );
  const undone = aspects.find(({ name }) => name === aspect)?.undo?.({ code, detail }) ?? null;
  const inForce = outOfForce === undefined ? null : putInForce(outOfForce, aspect, known.declaredIn ?? null);
  return [inForce, undone, step].filter((part) => part !== null).join('\n');
}

/** An item that `unknownFiles` finds: a file, or a link. */
const initrdPath = /^initrd (\/.*?)(?: [0-9a-f]{64}| -> .*)?$/;

/** The command that puts a reference in force. */
export function approveCommand(reference: string, kind: ReferenceKind): string {
  return `assay reference approve ${reference} --reason "its ${kindWords[kind].contents} are wanted"`;
}

function putInForce(reference: string, aspect: AspectName | undefined, declaredIn: string | null): Advice {
  const kind = aspects.find(({ name }) => name === aspect)?.referenceKind ?? 'boot';
  const wish = `If you want nodes to ${kindWords[kind].many} what reference ${reference} contains, put it in force`;
  return declaredIn === null
    ? `${wish}:\n  ${approveCommand(reference, kind)}`
    : `${wish}. ${declareActive(reference, declaredIn)}`;
}
