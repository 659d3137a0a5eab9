import { limits } from '../protocol/limits.ts';
import type { Challenge, Introduction, PcrSelection } from '../protocol/messages.ts';
import { takeNonce } from './nonce.ts';

interface Asked {
  readonly selection: PcrSelection;
  /** The more important ones first. */
  readonly holds: readonly string[];
  readonly parts: readonly string[];
  /** Paths of the node that the policy protects. */
  readonly paths: readonly string[];
}

/**
 * @param within milliseconds for the answer
 * @param files digests of files of its loader that are wanted
 */
export function freshChallenge(
  { selection, holds, parts, paths }: Asked,
  { speaks }: Introduction,
  within: number,
  files: readonly string[] = [],
): [Challenge, nonce: Buffer] {
  const nonce = takeNonce();
  const message: Challenge = {
    type: 'challenge',
    nonce: nonce.toString('base64'),
    selection,
    purpose: 'attest',
    holds: holds.slice(0, limits.holds.first),
    within,
  };
  if (!speaks.includes('parts')) return [message, nonce];
  const asked: Challenge = { ...message, holds: holds.slice(0, limits.holds.most), parts: [...parts] };
  if (files.length > 0 && speaks.includes('files')) asked.files = [...files];
  if (paths.length > 0 && speaks.includes('paths')) asked.paths = paths.slice(0, limits.paths);
  return [asked, nonce];
}
