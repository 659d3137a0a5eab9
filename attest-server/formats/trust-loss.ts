import type { Mode, NodeState } from '../wire/verdict.ts';

/** The verdicts before and after an event; null if there is none. */
interface Changing {
  readonly before: { readonly state: NodeState } | null;
  readonly after: { readonly state: NodeState; readonly mode?: Mode | undefined } | null;
}

/** Fewer nodes than this make no policy refused. */
const fewestLost = 3;

/** Of nodes whose trust a policy can take: too many would lose it. @param share of them that may */
export function losesTooMany(untrusted: number, trusted: number, share: number): boolean {
  return untrusted >= fewestLost && untrusted > share * trusted;
}

/** True where a policy can take a node's trust: it is trusted now, and not merely observed then. */
export function canLoseTrust({ before, after }: Changing): boolean {
  return before?.state === 'trusted' && after !== null && after.mode !== 'observe';
}

/** True where a node would become untrusted that is not so now. */
export function turnsUntrusted({ before, after }: Changing): boolean {
  return after?.state === 'untrusted' && before?.state !== 'untrusted';
}
