import type { NodeView } from '../api/node-api.ts';
import type { ShownTurn } from '../attest/turns.ts';
import { declareActive } from '../formats/declared.ts';
import type { Advice } from '../wire/advice.ts';
import type { ReasonCode } from '../wire/reasons.ts';

/** Circumstances that decide the way back. */
interface TurnCircumstances {
  /** Of the first reason. */
  readonly code: ReasonCode;
  /** Taints of its group wait, or would. */
  readonly isMarked: boolean;
  /** The signed directory that says what some references are; null if there is none. */
  readonly directory: string | null;
}

/** That a change of ours turned a node's verdict, and the way back. */
export function turnedView(turn: ShownTurn, where: TurnCircumstances): NonNullable<NodeView['turned']> {
  const whose = turn.isSame
    ? 'Nothing changed on the node'
    : 'By the rules that trusted the node last it would not be found wrong';
  return { text: `${whose}: ${changeText(turn)}.`, next: next(turn, where) };
}

function changeText({ change, at, policy, server, left }: ShownTurn): string {
  if (change === 'policy')
    return `policy ${policy.now} came into force at ${instant(policy.since)} (before: ${policy.before})`;
  if (change === 'server')
    return `version ${server.now} of the server judges it since ${instant(at)} (before: ${server.before || 'an earlier one'})`;
  if (left.length === 0) return `other references are in force, at the latest since ${instant(at)}`;
  return left
    .map(({ name, step }) =>
      step === null || (step.action !== 'revoke' && step.action !== 'retire')
        ? `reference ${name} is not in force any more`
        : `reference ${name} was ${steps[step.action]} by ${step.by} at ${step.at} (${step.reason})`,
    )
    .join('; ');
}

const steps = { revoke: 'revoked', retire: 'retired' } as const;

function next(turn: ShownTurn, { code, isMarked, directory }: TurnCircumstances): Advice {
  const waiting = [
    'Until a person decides, no taint comes for this; the label is gone. What waits:',
    '  assay breaker list',
    ...wayBack(turn, directory),
    'If these nodes are to be tainted, let the taints come:',
    '  assay breaker release --reason "the change is meant"',
  ];
  const meant = `If the change is meant, docs/troubleshooting.md#${code} says what it asks of a node.`;
  return [...(isMarked ? waiting : wayBack(turn, directory)), meant].join('\n');
}

function wayBack({ change, policy, left }: ShownTurn, directory: string | null): readonly string[] {
  if (change === 'policy')
    return [
      'If the policy is wrong, see what it changed, and put the earlier one back:',
      '  assay policy history',
      '  assay policy diff',
      `  assay policy rollback ${policy.before.split('@').at(-1) ?? 'REVISION'} --reason "it is wrong for these nodes"`,
    ];
  if (change === 'server')
    return [
      'If the new version is wrong, start the earlier version on the copy of its state that was made before the upgrade (docs/upgrade.md).',
    ];
  const mistake = 'If that was a mistake, take it back:';
  const undone = left.flatMap(({ name, state, isDeclared }) => {
    if (state === 'revoked')
      return [mistake, `  assay reference restore ${name} --reason "it was revoked by mistake"`];
    if (isDeclared && directory !== null) return [declareActive(name, directory)];
    return state === 'retired'
      ? [mistake, `  assay reference approve ${name} --reason "it was retired by mistake"`]
      : [];
  });
  return undone.length === 0
    ? ['See which references are in force:', '  assay reference list']
    : undone.filter((line, index) => line !== mistake || undone.indexOf(mistake) === index);
}

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
