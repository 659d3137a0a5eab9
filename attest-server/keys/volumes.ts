import { randomUUID } from 'node:crypto';
import type { PolicyGroup } from '../policy/policy.ts';
import { adviceOn } from '../wire/advice.ts';
import { Rejection } from '../wire/rejection.ts';
import { randomSecret } from '../wire/secret-bytes.ts';
import { armoured, sealForRecovery } from './escrow.ts';
import type { KeyHolder, LeaseStore, RefusedBoot, Volume, WrappingKeys } from './ports.ts';
import { recoveryPassphrase } from './recovery-passphrase.ts';

/** The volume that a person wants for a node. */
export interface WantedVolume {
  readonly node: KeyHolder;
  readonly group: Pick<PolicyGroup, 'name' | 'keys'>;
  /** As the node calls it, in crypttab. */
  readonly name: string;
  readonly path: string;
  readonly by: string;
}

interface VolumesParts {
  readonly store: LeaseStore;
  readonly wrapping: WrappingKeys | null;
  /** The node that the server runs on; null: none that it knows of. */
  readonly ownNode: string | null;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** Volumes of nodes, as people make and remove them. */
export class Volumes {
  readonly #parts: VolumesParts;

  constructor(parts: VolumesParts) {
    this.#parts = parts;
  }

  list(): Promise<readonly Volume[]> {
    return this.#parts.store.volumes();
  }

  /** Why boots got no key. @param ekDigest none: of all nodes */
  refusals(ekDigest?: string): Promise<readonly RefusedBoot[]> {
    return this.#parts.store.refusals(ekDigest);
  }

  /**
   * The way into a volume without the server, encrypted by age, as text; null if there is no such volume.
   * @param isWhole whether the header is read, too
   */
  async escrow(
    uuid: string,
    isWhole: boolean,
    by: string,
  ): Promise<{ readonly recovery: string; readonly header: string | null } | null> {
    const { store, now } = this.#parts;
    const volume = await store.volume(uuid);
    if (volume === null) return null;
    const escrow = await store.escrow(uuid, {
      at: now(),
      actor: by,
      action: 'volume.escrow',
      subject: volume.node,
      code: null,
      detail: { volume: uuid, name: volume.name, header: isWhole },
    });
    if (escrow === null) return null;
    const { recovery, header } = escrow;
    return { recovery: armoured(recovery), header: isWhole ? header && armoured(header) : null };
  }

  /**
   * Makes the key, the LUKS UUID and the recovery passphrase of a volume; the node formats it later, once.
   * @returns null if the node has a volume of that name, or at that path
   * @throws Rejection `key_withheld` if this server or the policy has no keys, `escrow_missing` without recipients, `key_cycle`
   *   for the node that the server runs on
   */
  async add({ node, group, name, path, by }: WantedVolume): Promise<Volume | null> {
    const { store, wrapping, ownNode, now } = this.#parts;
    if (wrapping === null)
      throw new Rejection('key_withheld', 'this server holds no keys of disks', {
        next: 'Make a wrapping key in a folder that no backup of the database takes in, name it as keys.wrappingKeyFile (ASSAY_KEYS_WRAPPING_KEY_FILE) to the server, and restart it (docs/disk-keys.md):\n  (umask 377; openssl rand -base64 32 > /etc/assay/wrapping.key)',
      });
    if (group.keys === undefined)
      throw new Rejection('key_withheld', `the policy has no keys for group ${group.name} of ${node.name}`, {
        next: 'Write keys with recoveryRecipients into that group of the policy (docs/disk-keys.md), and check the file:\n  assay policy check policy.yaml',
      });
    if (node.name === ownNode)
      throw new Rejection(
        'key_cycle',
        `this server runs on ${node.name}: after a power cut the node would wait for a key that only the server has`,
        { next: adviceOn('key_cycle') },
      );
    if (group.keys.recoveryRecipients.length === 0)
      throw new Rejection('escrow_missing', `group ${group.name} names no keys.recoveryRecipients`);
    if (node.bound === undefined || node.bound === 'first-use')
      throw new Rejection(
        'key_withheld',
        `nobody vouches for the TPM of ${node.name}: it is bound by first use`,
        {
          next: 'See the digest of its endorsement key, compare it on the machine, and approve it:\n  assay enrol approve --all --dry-run\n  assay enrol approve --all',
        },
      );
    const [uuid, createdAt] = [randomUUID(), now()];
    const context = { node: node.name, ekDigest: node.ekDigest, volume: uuid };
    const key = randomSecret(32);
    const passphrase = recoveryPassphrase(randomSecret);
    try {
      const volume = { node: node.name, ekDigest: node.ekDigest, uuid, name, path, createdAt, createdBy: by };
      const isNew = await store.add(
        {
          ...volume,
          key: wrapping.wrap(key, { ...context, purpose: 'volume' }),
          recovery: wrapping.wrap(passphrase, { ...context, purpose: 'recovery' }),
          recoveryEscrow: await sealForRecovery(passphrase, group.keys.recoveryRecipients),
        },
        {
          at: createdAt,
          actor: by,
          action: 'volume.add',
          subject: node.name,
          code: null,
          detail: { volume: uuid, name, path },
        },
      );
      if (!isNew) return null;
      return { ...volume, headerDigest: null, formattedAt: null, releasedAt: null, cappedAt: null };
    } finally {
      for (const secret of [key, passphrase]) secret.fill(0);
    }
  }

  /** Destroys the key and its escrow; whoever has the recovery passphrase can still open the disk. False if there is no such volume. */
  async remove(uuid: string, by: string): Promise<boolean> {
    const { store, now } = this.#parts;
    const volume = await store.volume(uuid);
    if (volume === null) return false;
    const { node: subject, name } = volume;
    const detail = { volume: uuid, name };
    return store.remove(uuid, { at: now(), actor: by, action: 'volume.remove', subject, code: null, detail });
  }
}
