import { hash } from 'node:crypto';
import {
  leasedName,
  leasedReference,
  rotatedReference,
  rotatingReference,
} from '../policy/disk/leased-volume.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import { keyslotAreas, type ParsedHeader, parseLuksHeader, recoverySlot } from '../wire/luks-header.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { sealForRecovery } from './escrow.ts';
import type { KeyHolder, LeaseStore, StoredVolume } from './ports.ts';

interface FormattingParts {
  readonly store: LeaseStore;
  /** Milliseconds since the epoch. */
  now(): number;
  groupOf(node: string): Pick<PolicyGroup, 'name' | 'keys'>;
  /** Puts the stored references in force, some time later. */
  referencesMoved(): void;
}

/** A node formats its volume, once, and exchanges its keyslot later: the server has each header before the disk has. */
export class Formatting {
  readonly #parts: FormattingParts;

  constructor(parts: FormattingParts) {
    this.#parts = parts;
  }

  /**
   * Keeps a header that a proven node made for a volume that it may format, or whose key is being replaced, encrypted for those
   * who may recover it.
   * @param header the bytes from the start of the device up to its data
   * @throws Rejection for a header that is not of this volume, or a volume that is formatted and keeps its key
   */
  async keepHeader(node: KeyHolder, leaseId: string, header: Buffer): Promise<void> {
    const volume = await this.#leased(node, leaseId);
    const { formattedAt, rotation } = volume;
    if (formattedAt !== null && rotation === null)
      throw refused('lease_consumed', 'the volume is formatted, and its key is not being replaced');
    const found = headerOf(header, volume);
    const { groupOf, store, now, referencesMoved } = this.#parts;
    const group = groupOf(node.name);
    const recipients = group.keys?.recoveryRecipients ?? [];
    if (recipients.length === 0) throw refused('escrow_missing', 'the policy names no recovery recipient');
    const reference = leasedReference(volume, found, group, now());
    if ('fault' in reference) throw refused('malformed', reference.fault);
    const recoverySlotDigest = recoveryDigestOf(header, found);
    // Its passphrase would be lost unseen: the header's digest is of its metadata alone.
    if (formattedAt !== null && recoverySlotDigest !== (volume.recoverySlotDigest ?? recoverySlotDigest))
      throw refused('luks_header_changed', 'the keyslot of its recovery passphrase is damaged on the disk');
    const escrow = await sealForRecovery(header, recipients);
    const { uuid } = volume;
    const kept = { uuid, headerDigest: found.digest, recoverySlotDigest, escrow, recipients };
    if (formattedAt === null) {
      if (!(await store.keepHeader({ ...kept, reference })))
        throw refused('lease_consumed', 'the volume is formatted');
      return;
    }
    const isKept = await store.keepNextHeader(
      { ...kept, leaseId },
      { name: leasedName(uuid), amend: (present) => rotatingReference(present, reference) },
    );
    if (!isKept)
      throw refused(
        'lease_consumed',
        'its replacement began after this boot got its key: the next boot carries that out',
      );
    referencesMoved();
  }

  /**
   * The header is on the disk: from now on the volume is unlocked with it, and the key of an earlier one is forgotten.
   * @throws Rejection if it is not the one that is kept
   */
  async formatted(node: KeyHolder, leaseId: string, headerDigest: string): Promise<void> {
    const { store, now, referencesMoved } = this.#parts;
    const volume = await this.#leased(node, leaseId);
    const { uuid, name, formattedAt } = volume;
    // Said again after a connection that was lost.
    if (formattedAt !== null && headerDigest === volume.headerDigest) return;
    const at = now();
    const [actor, subject, code] = ['server', node.name, null] as const;
    const detail = { volume: uuid, name, header: headerDigest };
    const event = { at, actor, subject, code, detail };
    const isDone =
      formattedAt === null
        ? await store.formatted(
            { uuid, headerDigest, formattedAt: at },
            { ...event, action: 'volume.format' },
          )
        : await store.rotated(
            { uuid, headerDigest },
            { name: leasedName(uuid), amend: rotatedReference },
            { ...event, action: 'volume.rotate.end' },
          );
    if (!isDone) throw refused('luks_header_changed', 'another header is kept for this volume');
    if (formattedAt !== null) referencesMoved();
  }

  async #leased({ name, ekDigest }: KeyHolder, leaseId: string): Promise<StoredVolume> {
    const volume = await this.#parts.store.leased({ leaseId, ekDigest });
    if (volume === null || volume.node !== name)
      throw refused('key_subject_mismatch', 'the lease is none of this node');
    return volume;
  }
}

/** @throws Rejection */
function headerOf(header: Buffer, { uuid }: StoredVolume): Extract<ParsedHeader, { version: 2 }> {
  const found = parseLuksHeader([{ at: 0, asked: header.length, bytes: header }], true).header;
  if (found === null || found.version !== 2) throw refused('malformed', 'it is no LUKS2 header');
  if (found.uuid !== uuid) throw refused('key_subject_mismatch', `it is the header of volume ${found.uuid}`);
  return found;
}

/** The SHA-256 of the recovery keyslot's key material, hex. @throws Rejection */
function recoveryDigestOf(header: Buffer, { metadata }: Extract<ParsedHeader, { version: 2 }>): string {
  const { at, asked } = keyslotAreas(metadata)?.[recoverySlot] ?? { at: 0, asked: 0 };
  const area = header.subarray(at, at + asked);
  if (asked === 0 || area.length < asked)
    throw refused('malformed', 'it lacks the key material of its recovery keyslot');
  return hash('sha256', area, 'hex');
}

function refused(code: ReasonCode, text: string): Rejection {
  return new Rejection(code, `header of a volume: ${text}`, { field: 'header' });
}
