import type { Reference } from '../../formats/reference.ts';
import { leasedCipher, type ParsedHeader, recoverySlot } from '../../wire/luks-header.ts';
import { Rejection } from '../../wire/rejection.ts';
import { capturedReference } from '../captured-reference.ts';
import type { GroupBase } from '../group.ts';
import { luksVolume } from './luks-metadata.ts';

/** A volume that its node formats with a key of this server. */
interface LeasedVolume {
  readonly node: string;
  /** LUKS UUID, lower case. */
  readonly uuid: string;
  /** The protected path that it is for. */
  readonly path: string;
}

/** The name of the reference of such a volume. */
export function leasedName(uuid: string): string {
  return `disk-${uuid}`;
}

/**
 * A reference of the header that a node made for it: with two keyslots, of the lease and of recovery, and nothing else that opens it.
 * @param header LUKS2
 * @param at milliseconds since the epoch
 * @returns or what is wrong with the header
 */
export function leasedReference(
  { node, uuid, path }: LeasedVolume,
  header: Pick<Extract<ParsedHeader, { version: 2 }>, 'uuid' | 'digest' | 'metadata'>,
  group: Pick<GroupBase, 'name'>,
  at: number,
): Reference | { readonly fault: string } {
  const volume = luksVolume({ ...header, version: 2, device: '0:0', detachedAt: null, luks1: null });
  if ('fault' in volume) return volume;
  const { version, keyslots, tokens, segments, digests, ciphers, keyBytes, reencryption, opening } = volume;
  // Attack: a node that was tampered with before has somebody else's keyslot vouched for.
  const slots = Object.keys(keyslots);
  if (slots.length !== 2 || !slots.includes(recoverySlot) || Object.keys(tokens).length > 0)
    return { fault: `it has other ways in than keyslot ${recoverySlot} and one besides` };
  // Attack: what is kept for recovery is a keyslot that leads to no key of the data.
  if (slots.some((slot) => !opening.includes(slot))) return { fault: 'one of its keyslots opens nothing' };
  if (reencryption !== null) return { fault: `it is being reencrypted (${reencryption})` };
  if (ciphers.join() !== leasedCipher || Object.keys(segments).length !== 1 || keyBytes !== 64)
    return { fault: `it does not encrypt one segment by ${leasedCipher} with a key of 512 bit` };
  if (Object.keys(digests).length !== 1) return { fault: 'it has more than one volume key' };
  return capturedReference(
    { kind: 'disk', disk: { volumes: [{ version, uuid, keyslots, tokens, segments, digests, path }] } },
    { name: leasedName(uuid), state: 'active', group, node, by: 'server', at },
  );
}

/**
 * The reference of a volume whose node may have the present header or the next one: its keyslot of the lease is another one.
 * @throws Rejection `malformed` if anything else of it is
 */
export function rotatingReference(present: Reference, next: Reference): Reference {
  const [before, after] = [present.disk?.volumes[0], next.disk?.volumes[0]];
  if (before === undefined || after === undefined) throw otherVolume('it is of no volume');
  // Attack: a node that was tampered with before has somebody else's passphrase vouched for as the one that is kept for recovery.
  if (before.keyslots[recoverySlot] !== after.keyslots[recoverySlot])
    throw otherVolume('the keyslot of its recovery passphrase is another one');
  for (const member of ['digests', 'segments'] as const)
    if (JSON.stringify(before[member]) !== JSON.stringify(after[member]))
      throw otherVolume(`its ${member} are others`);
  return { ...present, disk: { volumes: [before, { ...after, path: before.path }] } };
}

/** The same once its node has the next header. */
export function rotatedReference(rotating: Reference): Reference {
  return { ...rotating, disk: { volumes: rotating.disk?.volumes.slice(-1) ?? [] } };
}

function otherVolume(text: string): Rejection {
  return new Rejection('malformed', `header of a volume: ${text}`, { field: 'header' });
}
