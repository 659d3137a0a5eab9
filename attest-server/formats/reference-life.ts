import { type Reference, type ReferenceAction, saysNothing } from './reference.ts';

/** From which states an action leads to which one; null: to the one before. Nothing else leads out of `revoked`. */
const transitions = {
  approve: { from: ['staged', 'retired'], to: 'active' },
  retire: { from: ['staged', 'active'], to: 'retired' },
  revoke: { from: ['staged', 'active', 'retired'], to: 'revoked' },
  restore: { from: ['revoked'], to: null },
} as const satisfies Record<
  ReferenceAction,
  { from: readonly Reference['state'][]; to: Reference['state'] | null }
>;

/** The present state does not allow what was asked; the message says why. */
export class NotNow extends Error {
  override readonly name = 'NotNow';
}

/** The reference as this action leaves it. @throws NotNow if its state does not allow the action */
export function afterAction(reference: Reference, action: ReferenceAction): Reference {
  const { from, to } = transitions[action];
  if (!from.some((state) => state === reference.state))
    throw new NotNow(
      `reference ${reference.name} is ${reference.state}: ${action} needs one that is ${from.join(' or ')}${reference.state === 'revoked' ? '; restore takes a revocation back' : ''}`,
    );
  const state = to ?? beforeRevocation(reference);
  if (state === 'active' && saysNothing(reference))
    throw new NotNow(
      `reference ${reference.name} says nothing of a boot, so that it would make no node trusted: capture a node that booted the change, and delete this one`,
    );
  // Approved it counts anyway, and out of force nobody is to boot like it.
  const { announced: _ended, ...lasting } = reference;
  return { ...lasting, state };
}

/** Where nobody knows what it was, it makes nobody trusted before somebody approves it. */
function beforeRevocation({ changed }: Reference): Reference['state'] {
  return changed?.action === 'revoke' ? changed.from : 'retired';
}
