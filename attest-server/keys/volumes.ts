import { randomUUID } from 'node:crypto';
import type { LimitFunction } from 'p-limit';
import type { PolicyGroup } from '../policy/policy.ts';
import { adviceOn } from '../wire/advice.ts';
import { Rejection } from '../wire/rejection.ts';
import { randomSecret } from '../wire/secret-bytes.ts';
import { armoured, sealForRecovery } from './escrow.ts';
import type { KeyHolder, LeaseStore, RefusedBoot, StoredVolume, Volume, WrappingKeys } from './ports.ts';
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

/** The rotation that a person wants. */
export interface WantedRotation extends Pick<WantedVolume, 'node' | 'group' | 'by'> {
  readonly uuid: string;
}

interface VolumesParts {
  readonly store: LeaseStore;
  readonly wrapping: WrappingKeys | null;
  /** The node that the server runs on; null: none that it knows of. */
  readonly ownNode: string | null;
  /** Milliseconds since the epoch. */
  now(): number;
  /** As `Rewrapping.again`. */
  rewrap(): Promise<number>;
  /** As that of `Rewrapping`. */
  readonly inTurn: LimitFunction;
  /** A formatted volume is bound to this TPM. */
  leased(ekDigest: string): void;
}

/** A wrapping key that is in the file, or that a volume needs. */
export interface WrappingKeyUse {
  readonly id: string;
  /** How many volumes need it. */
  readonly volumes: number;
  readonly isInFile: boolean;
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

  /** The newest first, then those that the file lacks; null if this server holds no keys of disks. */
  async wrappingKeys(): Promise<readonly WrappingKeyUse[] | null> {
    const { store, wrapping } = this.#parts;
    if (wrapping === null) return null;
    const used = await store.wrappedBy();
    const { ids } = wrapping;
    return [...new Set([...ids, ...used.keys()])].map((id) => ({
      id,
      volumes: used.get(id) ?? 0,
      isInFile: ids.includes(id),
    }));
  }

  /** Wraps all keys by the newest wrapping key of the file, which is read again. @throws Error for a fault of the file */
  rewrap(): Promise<number> {
    return this.#parts.rewrap();
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
   * @returns null if the node has a volume of that name
   * @throws Rejection `key_withheld` if this server or the policy has no keys, `escrow_missing` without recipients, `key_cycle`
   *   for the node that the server runs on
   */
  add(wanted: WantedVolume): Promise<Volume | null> {
    return this.#parts.inTurn(() => this.#add(wanted));
  }

  async #add({ node, group, name, path, by }: WantedVolume): Promise<Volume | null> {
    const { store, now } = this.#parts;
    const { wrapping, recipients } = this.#custodyFor(node, group);
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
          recoveryEscrow: await sealForRecovery(passphrase, recipients),
          recipients,
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
      const never = { formattedAt: null, revoked: null, releasedAt: null, cappedAt: null, rotation: null };
      return {
        ...volume,
        headerDigest: null,
        recipients: { passphrase: recipients, header: null },
        ...never,
      };
    } finally {
      for (const secret of [key, passphrase]) secret.fill(0);
    }
  }

  /** Gives the key to nobody from now on, or to its node again; false if that changes nothing. */
  async revoke(
    { uuid, node, name }: Volume,
    isRevoked: boolean,
    because: string,
    by: string,
  ): Promise<boolean> {
    const { store, now } = this.#parts;
    const at = now();
    return store.revoke(uuid, isRevoked ? { at, by, because } : null, {
      at,
      actor: by,
      action: isRevoked ? 'volume.revoke' : 'volume.restore',
      subject: node,
      code: null,
      detail: { volume: uuid, name, reason: because },
    });
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

  /**
   * Makes the next key of a volume, which takes the place of the present one when its node boots. If that node has another TPM
   * now, the volume is bound to that one, and keeps a next key that may be on the disk already.
   * @returns false if its key is being replaced already, or the volume was changed meanwhile, or the TPM has one of that name
   * @throws Rejection as `add`; `key_withheld` if no wrapping key fits its keys, or it is not formatted
   */
  rotate(wanted: WantedRotation): Promise<boolean> {
    return this.#parts.inTurn(() => this.#rotate(wanted));
  }

  async #rotate({ uuid, node, group, by }: WantedRotation): Promise<boolean> {
    const { store, now } = this.#parts;
    const { wrapping } = this.#custodyFor(node, group);
    const volume = await store.volume(uuid);
    if (volume === null) return false;
    const { name, ekDigest } = volume;
    const isRebound = ekDigest !== node.ekDigest;
    const context = { purpose: 'volume', node: node.name, ekDigest: node.ekDigest, volume: uuid } as const;
    const key = unwrapped(volume, wrapping);
    const { nextKey } = volume;
    const next = nextKey === null ? randomSecret(32) : unwrapped({ ...volume, key: nextKey }, wrapping);
    try {
      // A clock may be put back. Attack, or a mishap: a boot that has the next key of an earlier rotation would count as a later one.
      const since = Math.max(now(), (volume.releasedAt ?? 0) + 1);
      const isBegun = await store.rotate(
        volume,
        {
          since,
          by,
          nextKey: wrapping.wrap(next, context),
          rebound: isRebound ? { ekDigest: node.ekDigest, key: wrapping.wrap(key, context) } : null,
        },
        {
          at: since,
          actor: by,
          action: 'volume.rotate',
          subject: node.name,
          code: null,
          detail: { volume: uuid, name, ...(isRebound && { ek: node.ekDigest }) },
        },
      );
      if (isBegun) this.#parts.leased(node.ekDigest);
      return isBegun;
    } finally {
      for (const secret of [key, next]) secret.fill(0);
    }
  }

  /** Forgets the next key; false if the key is not being replaced, or its node may have begun to write. */
  async cancelRotation({ uuid, node, name }: Volume, by: string): Promise<boolean> {
    const { store, now } = this.#parts;
    const detail = { volume: uuid, name };
    return store.cancelRotation(uuid, {
      at: now(),
      actor: by,
      action: 'volume.rotate.cancel',
      subject: node,
      code: null,
      detail,
    });
  }

  /** Who keeps the keys of a node, and who recovers its volumes. @throws Rejection if it gets no keys of this server */
  #custodyFor(
    node: KeyHolder,
    group: WantedVolume['group'],
  ): { readonly wrapping: WrappingKeys; readonly recipients: readonly string[] } {
    const { wrapping, ownNode } = this.#parts;
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
    return { wrapping, recipients: group.keys.recoveryRecipients };
  }
}

/** @throws Rejection `key_withheld` if no wrapping key fits */
function unwrapped({ node, ekDigest, uuid, key }: StoredVolume, wrapping: WrappingKeys): Buffer {
  try {
    return wrapping.unwrap(key, { purpose: 'volume', node, ekDigest, volume: uuid });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Rejection('key_withheld', `the present key of the volume cannot be read: ${why}`, {
      cause,
      next: 'Put the wrapping key that it names on a line below the current one in the file of keys.wrappingKeyFile, restart the server, and type the same again:\n  assay-server check',
    });
  }
}
