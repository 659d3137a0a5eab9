import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';

/** Reports to people, in the audit log and the metrics, of something about a node that is not its own connection's refusal. */
export type Alert = (alert: {
  readonly code: ReasonCode;
  readonly text: string;
  readonly node: string;
  readonly actor: string;
}) => void;

/**
 * One key under two names: both nodes are reported, and nothing is bound again by itself.
 * @param reported the nodes for which nobody else records the refusal
 */
export function doubleBinding(
  alert: Alert,
  about: { readonly wanted: string; readonly holder: string; readonly actor: string },
  reported: readonly string[] = [about.wanted, about.holder],
): Rejection {
  const { wanted, holder, actor } = about;
  const text = `the endorsement key for ${wanted} already belongs to ${holder}: revoke that enrolment first`;
  for (const node of reported) alert({ code: 'ek_already_bound', text, node, actor });
  return new Rejection('ek_already_bound', text);
}
