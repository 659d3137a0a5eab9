import type { ReasonCode } from '../protocol/reasons.ts';
import { Rejection } from '../protocol/rejection.ts';

/** Tells people, in the audit log and the metrics, of something about a node that is not its own connection's refusal. */
export type Alert = (alert: {
  readonly code: ReasonCode;
  readonly text: string;
  readonly node: string;
  readonly actor: string;
}) => void;

/**
 * One key under two names: both nodes are told of, and nothing is bound again by itself.
 * @param tell the nodes for which nobody else records the refusal
 */
export function doubleBinding(
  alert: Alert,
  about: { readonly wanted: string; readonly holder: string; readonly actor: string },
  tell: readonly string[] = [about.wanted, about.holder],
): Rejection {
  const { wanted, holder, actor } = about;
  const text = `the endorsement key for ${wanted} is that of ${holder}: revoke that enrolment first`;
  for (const node of tell) alert({ code: 'ek_already_bound', text, node, actor });
  return new Rejection('ek_already_bound', text);
}
