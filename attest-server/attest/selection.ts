import { askedParts } from '../policy/aspects.ts';
import type { PartName } from '../wire/evidence.ts';
import type { PcrBank, PcrSelection } from '../wire/messages.ts';
import type { SupplementPlaces } from '../wire/supplements.ts';
import type { NodeStatus } from './ports.ts';

/** Question to a node, and the parts that it need not send again. */
export interface Question {
  readonly selection: PcrSelection;
  /** Digests; the boot log's first. */
  readonly holds: readonly string[];
  readonly parts: readonly PartName[];
  /** Paths of the node that the policy protects. */
  readonly paths: readonly string[];
  /** Where each supplement is to continue. */
  readonly supplements: SupplementPlaces;
}

/** From the best on. */
const strongBanks = ['sha256', 'sha384', 'sha512'] as const satisfies readonly PcrBank[];
/** A reference may name any of them, in any bank. */
const allPcrs = Array.from({ length: 24 }, (_, pcr) => pcr);

/** By which strong banks a TPM has, a bit each: a fleet has few kinds, and each is asked again and again. */
const selections: readonly PcrSelection[] = Array.from({ length: 1 << strongBanks.length }, (_, has) => {
  const strong = strongBanks.filter((_bank, bit) => ((has >>> bit) & 1) === 1);
  const asked: readonly PcrBank[] = strong.length === 0 ? ['sha1'] : strong;
  return Object.fromEntries(asked.map((bank) => [bank, allPcrs]));
});

/**
 * All PCRs of each bank that the TPM has and that is not SHA-1: an event that is hidden from one bank shows in another.
 * @param banks those that the TPM had when it was enrolled
 * @param held parts of which the server has the bytes
 * @param enough parts that this connection has shown, and need not show again
 * @param paths that the rules of the node's group speak of
 * @param places what is to come of each supplement; IMA's list is a part as well, and is asked for where that is
 */
export function questionFor(
  banks: readonly PcrBank[],
  held: NodeStatus['parts'],
  enough: readonly PartName[] = [],
  paths: readonly string[] = [],
  places: SupplementPlaces = {},
): Question {
  let has = 0;
  strongBanks.forEach((bank, bit) => {
    if (banks.includes(bank)) has |= 1 << bit;
  });
  const holds: string[] = [];
  for (const name of askedParts) if (held[name] !== undefined) holds.push(held[name]);
  const { ima, ...others } = places;
  const left = ima === undefined && !enough.includes('ima') ? [...enough, 'ima'] : enough;
  const parts = left.length === 0 ? askedParts : askedParts.filter((name) => !left.includes(name));
  const supplements = parts.includes('ima') ? places : others;
  return { selection: selections[has] ?? {}, holds, parts, paths, supplements };
}
