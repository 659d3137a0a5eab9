import { limits } from '../wire/limits.ts';
import type { AskedSupplement, Challenge, Introduction, PcrSelection } from '../wire/messages.ts';
import { purposeOf } from '../wire/roles.ts';
import {
  type SupplementName,
  type SupplementPlace,
  type SupplementPlaces,
  supplementForms,
  supplementNames,
} from '../wire/supplements.ts';
import { takeNonce } from './nonce.ts';

interface AskedEvidence {
  readonly selection: PcrSelection;
  /** The more important ones first. */
  readonly holds: readonly string[];
  readonly parts: readonly string[];
  /** Paths of the node that the policy protects. */
  readonly paths: readonly string[];
  /** Where each supplement is to continue. */
  readonly supplements: SupplementPlaces;
}

interface ChallengeTerms {
  /** Milliseconds for the answer. */
  readonly within: number;
  readonly isProven: boolean;
  /** Bytes of a supplement that it may bring. */
  readonly most: (name: SupplementName) => number;
}

export function freshChallenge(
  { selection, holds, parts, paths, supplements }: AskedEvidence,
  { role, speaks }: Introduction,
  { within, isProven, most }: ChallengeTerms,
): [Challenge, nonce: Buffer] {
  const nonce = takeNonce();
  const asked: Challenge = {
    type: 'challenge',
    nonce: nonce.toString('base64'),
    selection,
    purpose: purposeOf(role),
    holds: holds.slice(0, limits.holds),
    parts: [...parts],
    within,
  };
  if (paths.length > 0 && speaks.includes('paths')) asked.paths = paths.slice(0, limits.paths);
  if (parts.includes('firewall') && speaks.includes('local')) asked.local = true;
  const speaksAll = speaks.includes('supplements');
  if (speaksAll) asked.parts = parts.filter((name) => name !== 'ima');
  for (const name of supplementNames) {
    const place = supplements[name];
    // Attack: an unproven peer causes megabytes to be requested in a node's name.
    if (place === undefined || !(isProven || supplementForms[name].ofStrangers)) continue;
    if (speaksAll) asked.supplements = { ...asked.supplements, [name]: askedOf(place, most(name)) };
    else if (name === 'loaderFiles' && speaks.includes('files')) asked.files = [...place.of];
  }
  return [asked, nonce];
}

function askedOf({ of, from, bootId }: SupplementPlace, most: number): AskedSupplement {
  return { of: [...of], from, bootId, most };
}
