import type { Reference } from './reference.ts';

/** What a person may do with a reference that the server holds. */
export const referenceActions = ['approve', 'retire', 'revoke'] as const;
export type ReferenceAction = (typeof referenceActions)[number];

/** From which states an action leads to which one. Nothing leads out of `revoked`: what was bad once stays so. */
const transitions = {
  approve: { from: ['staged', 'retired'], to: 'active' },
  retire: { from: ['staged', 'active'], to: 'retired' },
  revoke: { from: ['staged', 'active', 'retired'], to: 'revoked' },
} as const satisfies Record<ReferenceAction, { from: readonly Reference['state'][]; to: Reference['state'] }>;

/** The references that are held do not allow what was asked; the message says why. */
export class NotNow extends Error {
  override readonly name = 'NotNow';
}

/** The reference as this action leaves it. @throws NotNow where its state does not allow the action */
export function afterAction(reference: Reference, action: ReferenceAction): Reference {
  const { from, to } = transitions[action];
  if (!from.some((state) => state === reference.state))
    throw new NotNow(
      `reference ${reference.name} is ${reference.state}: ${action} needs one that is ${from.join(' or ')}`,
    );
  return { ...reference, state: to };
}
