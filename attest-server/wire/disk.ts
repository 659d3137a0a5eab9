import { z } from 'zod';
import { limits } from './limits.ts';
import { parseJson } from './parse-json.ts';

/**
 * The part `disk` of evidence: JSON, UTF-8. It shows what lies below the paths that a policy protects, as the host
 * sees it (the mount namespace of its first process), from sysfs and from what `assay-agent inspect` wrote. All of it
 * is the node's word. The server judges it; the node leaves out only what is named here.
 */
const name = z.string().max(256);
/** `major:minor` */
const device = z.string().regex(/^\d{1,10}:\d{1,10}$/);
const cause = z.string().max(256);

/**
 * A block device, as /sys/dev/block has it. Besides, the anonymous device (`0:45`) of a btrfs, called `btrfs UUID`: its
 * slaves are the devices that /sys/fs/btrfs lists for it.
 */
const blockDevice = z.strictObject({
  device,
  /** `sda1`, `dm-0` */
  name,
  /** The devices that it is made of, from this list. */
  slaves: z.array(device).max(256),
  /** The device that it is a partition of. */
  partitionOf: device.nullable(),
  /** Device mapper: name and UUID (`CRYPT-LUKS2-…`, `LVM-…`), and its live table, a line a target, without any key. */
  mapping: z
    .strictObject({
      name,
      uuid: z.string().max(1024),
      /** As `dmsetup table` prints it, keys left out by their length; null if `inspect` gave none. */
      table: z.array(z.string().max(4096)).max(64).nullable(),
    })
    .nullable(),
  /** A loop device: the file that backs it, as the kernel names it; `deleted` is a part of that name. */
  loop: z.strictObject({ backingFile: z.string().max(4096) }).nullable(),
  /** MD RAID: `raid1` */
  raid: z.strictObject({ level: z.string().max(32) }).nullable(),
});

/** The header of a LUKS volume, read from the raw device, or from the file or device that holds a detached one. */
const luksHeader = z.strictObject({
  /** The device of the volume that it describes, not of where it was read. */
  device,
  /** Where it was read: null if that is the volume's own device, else a path on the host. */
  detachedAt: z.string().max(4096).nullable(),
  version: z.union([z.literal(1), z.literal(2)]),
  uuid: z.string().max(64),
  /** SHA-256 of the header's bytes without key material; null if it was not read raw. */
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
  /** LUKS2: the text of its JSON area, as it is there. */
  metadata: z
    .string()
    .max(128 * 1024)
    .nullable(),
  /** LUKS1: cipher, mode, hash and bytes of its key, digest of the volume key, and which of 8 keyslots are in use. */
  luks1: z
    .strictObject({
      cipher: z.string().max(64),
      mode: z.string().max(64),
      hash: z.string().max(64),
      keyBytes: z.int().min(0).max(4096),
      keyDigest: z.string().max(128),
      keySalt: z.string().max(128),
      activeSlots: z.array(z.int().min(0).max(7)).max(8),
    })
    .nullable(),
});

export const diskPart = z.strictObject({
  version: z.literal(1),
  /** Each path that was asked for, and where it leads on the host, links followed; null if there is no such path. */
  paths: z
    .array(z.strictObject({ path: z.string().max(1024), real: z.string().max(4096).nullable() }))
    .max(limits.paths),
  /**
   * /proc/1/mountinfo, a line a string, one character a byte (latin1). Left out are mounts that nothing of the paths
   * depends on: file systems of the kernel itself, and those that containers come and go with (agent/collectors).
   */
  mounts: z.array(z.string().max(16_384)).max(4096),
  devices: z.array(blockDevice).max(1024),
  /** Findings of `assay-agent inspect`, which need root; or why there are none. */
  inspected: z.union([
    z.strictObject({
      /** RFC 3339, by the node's clock: the day, at midnight UTC; of agents up to 0.3.0 the moment. */
      at: z.iso.datetime(),
      headers: z.array(luksHeader).max(64),
      /** Devices whose header could not be read, and why; no secret and no content. */
      unreadable: z.array(z.strictObject({ device, cause })).max(64),
      /** Swap: a device, or a file by its path and the device of its file system. */
      swaps: z.array(z.strictObject({ path: z.string().max(4096), device: device.nullable() })).max(64),
      /** Traces of keys of volumes: `keyring`, `file`; the names of keys and files, never what they hold. */
      residue: z
        .array(z.strictObject({ where: z.enum(['keyring', 'file']), name: z.string().max(4096) }))
        .max(64),
    }),
    z.strictObject({ cause }),
  ]),
});
export type DiskPart = z.infer<typeof diskPart>;
export type BlockDevice = DiskPart['devices'][number];
export type Inspected = Extract<DiskPart['inspected'], { readonly at: string }>;
export type LuksHeader = Inspected['headers'][number];

/** @throws Rejection `too_large`, `malformed` with the field */
export function parseDiskPart(bytes: Buffer): DiskPart {
  return parseJson(bytes.toString('utf8'), diskPart, 'disk', 'disk');
}
