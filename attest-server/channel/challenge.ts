import type { Challenge, PcrSelection } from '../protocol/messages.ts';
import { takeNonce } from './nonce.ts';

interface Asked {
  readonly selection: PcrSelection;
  readonly holds: readonly string[];
}

/** @param within milliseconds for the answer */
export function freshChallenge({ selection, holds }: Asked, within: number): [Challenge, nonce: Buffer] {
  const nonce = takeNonce();
  return [
    {
      type: 'challenge',
      nonce: nonce.toString('base64'),
      selection,
      purpose: 'attest',
      holds: [...holds],
      within,
    },
    nonce,
  ];
}
