import type { Reference } from '../../formats/reference.ts';
import type { ParsedHeader } from '../../wire/luks-header.ts';
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
  const { version, keyslots, tokens, segments, digests, ciphers, keyBytes, reencryption } = volume;
  // Attack: a node that was tampered with before has somebody else's keyslot vouched for.
  if (Object.keys(keyslots).join() !== '0,1' || Object.keys(tokens).length > 0)
    return { fault: 'it has other ways in than keyslots 0 and 1' };
  if (reencryption !== null) return { fault: `it is being reencrypted (${reencryption})` };
  if (ciphers.join() !== 'aes-xts-plain64' || Object.keys(segments).length !== 1 || keyBytes !== 64)
    return { fault: 'it does not encrypt one segment by aes-xts-plain64 with a key of 512 bit' };
  if (Object.keys(digests).length !== 1) return { fault: 'it has more than one volume key' };
  return capturedReference(
    { kind: 'disk', disk: { volumes: [{ version, uuid, keyslots, tokens, segments, digests, path }] } },
    { name: leasedName(uuid), state: 'active', group, node, by: 'server', at },
  );
}
