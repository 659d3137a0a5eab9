import { isAnnounced, type Reference } from '../formats/reference.ts';
import { brief } from './brief.ts';

/**
 * Why no change may be announced by this reference to these nodes; null if it may.
 * @param nodes null: its whole group
 */
export function announcingFault(
  reference: Reference,
  nodes: readonly string[] | null,
  at: number,
): string | null {
  const { kind, name, state, announced } = reference;
  if (kind !== 'boot') return `reference ${name} is of kind ${kind}: only boots are announced`;
  if (state === 'active') return `reference ${name} is active: nodes that boot like it are known already`;
  if (state !== 'staged') return `reference ${name} is ${state}: announce one that is staged`;
  const left = isAnnounced(reference, at) ? leftOut(announced, nodes) : null;
  return left === null
    ? null
    : `reference ${name} is announced for ${left} until ${announced?.until}, whom this leaves out: name them, too, or end that announcement first`;
}

/** Whom an open announcement covers, and another one would not: they would be untrusted in the middle of their update. */
function leftOut(open: Reference['announced'], nodes: readonly string[] | null): string | null {
  if (open === undefined || nodes === null) return null;
  if (open.nodes === null) return 'all nodes of its group';
  const left = open.nodes.filter((node) => !nodes.includes(node));
  return left.length === 0 ? null : brief(left.join(', '));
}
