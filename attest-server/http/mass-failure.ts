import { manyAlike, type NodeView } from '../api/node-api.ts';
import { shellWord } from '../wire/advice.ts';
import type { ApiPorts } from './ports.ts';

/**
 * The view of a node with what a person does first where it fails as many others do: that stands before the steps for this node
 * alone. What a change of ours turned has a way back of its own.
 */
export function withMassAdvice(view: NodeView, { references }: Pick<ApiPorts, 'references'>): NodeView {
  const { name, group, turned, marks, reasons } = view;
  const failing = reasons.filter(({ severity }) => severity === 'fail');
  if (turned !== null || group === null || failing.length === 0) return view;
  const shared = references.shared(name, group);
  const isMany = shared !== null && shared.nodes >= manyAlike;
  const common = failing.find(({ code }) => isMany && shared.codes.includes(code));
  const steps = [
    ...(common === undefined || shared === null
      ? []
      : [
          `${shared.nodes} nodes fail the same way. See what they have in common, and the command for all of them:`,
          `  assay reference candidates --group ${shellWord(group)}`,
        ]),
    ...(marks?.suppressed === 'breaker'
      ? ['No taint comes for this before a person decides. See what waits:', '  assay breaker list']
      : []),
  ];
  if (steps.length === 0) return view;
  const told = common ?? failing[0];
  return {
    ...view,
    reasons: reasons.map((reason) =>
      reason === told
        ? { ...reason, next: [...steps, ...(reason.next?.split('\n') ?? [])].join('\n') }
        : reason,
    ),
  };
}
