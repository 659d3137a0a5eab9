import { limits } from '../protocol/limits.ts';
import type { Challenge, ImagePlace, Introduction, ListPlace, PcrSelection } from '../protocol/messages.ts';
import { takeNonce } from './nonce.ts';

interface Asked {
  readonly selection: PcrSelection;
  /** The more important ones first. */
  readonly holds: readonly string[];
  readonly parts: readonly string[];
  /** Paths of the node that the policy protects. */
  readonly paths: readonly string[];
  /** Where IMA's list is to go on; null where nothing of it is asked for. */
  readonly ima: ListPlace | null;
  /** Where an initrd is to go on; null where none is asked for. */
  readonly initrd: ImagePlace | null;
}

interface Occasion {
  /** Milliseconds for the answer. */
  readonly within: number;
  /** Digests of files of its loader that are wanted. */
  readonly files: readonly string[];
  /** Bytes of IMA's list that it may bring. */
  readonly mostOfIma: number;
  /** The same of an initrd. */
  readonly mostOfInitrd: number;
}

export function freshChallenge(
  { selection, holds, parts, paths, ima, initrd }: Asked,
  { speaks }: Introduction,
  { within, files, mostOfIma, mostOfInitrd }: Occasion,
): [Challenge, nonce: Buffer] {
  const nonce = takeNonce();
  const asked: Challenge = {
    type: 'challenge',
    nonce: nonce.toString('base64'),
    selection,
    purpose: 'attest',
    holds: holds.slice(0, limits.holds),
    parts: [...parts],
    within,
  };
  if (files.length > 0 && speaks.includes('files')) asked.files = [...files];
  if (paths.length > 0 && speaks.includes('paths')) asked.paths = paths.slice(0, limits.paths);
  if (parts.includes('firewall') && speaks.includes('local')) asked.local = true;
  if (ima !== null && speaks.includes('ima')) {
    asked.parts = parts.filter((name) => name !== 'ima');
    asked.ima = { ...ima, most: mostOfIma };
  }
  if (initrd !== null && speaks.includes('initrd')) asked.initrd = { ...initrd, most: mostOfInitrd };
  return [asked, nonce];
}
