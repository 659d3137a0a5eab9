import { z } from 'zod';
import { nodeName } from '../wire/messages.ts';
import { reasonCodeSchema } from '../wire/verdict.ts';
import { nextBoot } from './node-api.ts';

/** Encrypted volumes of nodes, whose keys the server holds (`/v1/volumes`), as the API takes and answers them. */
const moment = z.iso.datetime().nullable();

/** A name that crypttab, the device mapper and systemd take as it is. */
export const volumeName = z
  .string()
  .regex(
    // It is the instance of units, in which a dash would stand for a slash.
    /^[A-Za-z0-9_]{1,64}$/,
    'not the name of a volume: letters, digits and _, at most 64',
  )
  // The device mapper's own file in /dev/mapper.
  .refine((name) => name !== 'control', 'control is no name of a volume');

/** A path that needs no escape in fstab, and that no other text names. */
export const volumePath = z
  .string()
  .max(200)
  .regex(
    /^(\/[A-Za-z0-9._@:+-]+)+$/,
    'not an absolute path below / (letters, digits and . _ @ : + -), such as /var/lib/docker',
  )
  .refine((path) => !/\/\.{1,2}(\/|$)/.test(path), 'not a plain path: write it without . and ..');

export const volumeRequest = z.strictObject({ node: nodeName, name: volumeName, path: volumePath });

/** Why the latest boot of a node got no key. */
const keyRefusal = z.object({
  code: reasonCodeSchema,
  /** One sentence. */
  text: z.string(),
  /** Since when this is the answer. */
  at: z.iso.datetime(),
});

/** The replacement of a volume's key by another one. */
const rotation = z.object({
  since: z.iso.datetime(),
  by: z.string(),
  /** Whether its node may have begun to write to the disk; false: it can be called off. */
  begun: z.boolean(),
});

const recipients = z.array(z.string());

/** Of age: who can read each part of what is kept for recovery. Null: it is not there, or was encrypted before servers kept that. */
const escrowRecipients = z.object({
  /** Of the recovery passphrase. */
  passphrase: recipients.nullable(),
  header: recipients.nullable(),
  /** Whom the policy names at present. */
  policy: recipients,
});

export const volumeView = z.object({
  node: z.string(),
  /** The name in crypttab. */
  name: z.string(),
  /** Where it is mounted. */
  path: z.string(),
  /** LUKS UUID. */
  uuid: z.string(),
  /** SHA-256 of the endorsement key's public area, hex: only this TPM gets the key. */
  ek: z.string(),
  /** That TPM is the node of this name at present. */
  enrolled: z.boolean(),
  /** SHA-256 of its LUKS header, hex; null: it has none yet. */
  header: z.string().nullable(),
  /** Null: it has no header yet. */
  cipher: z.string().nullable().default(null),
  recipients: escrowRecipients.nullable().default(null),
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  /** Null: its node may still format it, once. */
  formattedAt: moment,
  /** When its key was last given out. */
  releasedAt: moment,
  /** When its node last said that it is open, and that its boot is capped. */
  unlockedAt: moment,
  /** By whom and why its key is given to nobody; null: it is not taken away. */
  revoked: z.object({ at: z.iso.datetime(), by: z.string(), because: z.string() }).nullable().default(null),
  /** Null: its key is not being replaced. */
  rotation: rotation.nullable().default(null),
  /** Null: its node has a key, or did not ask in this boot. */
  refused: keyRefusal.nullable().default(null),
  /** Whether its node would get its key at the next boot, by the node's word; null: it is not a volume of the enrolled TPM. */
  nextBoot: nextBoot.nullable().default(null),
});
export type VolumeView = z.infer<typeof volumeView>;

export const volumeMade = volumeView.extend({
  /** The line for /etc/crypttab of the node. */
  crypttab: z.string(),
  /** The line for /etc/fstab of the node. */
  fstab: z.string(),
  /** The steps on the node; a line that begins with two blanks is typed there, or written into the named file. */
  next: z.string(),
});

export const volumeChange = z.strictObject({ reason: z.string().min(1).max(512) });

export const wrappingView = z.object({
  /** How many volumes this request wrapped by the newest key. */
  rewrapped: z.number(),
  /** The newest first: that one wraps. */
  keys: z.array(
    z.object({
      /** Tells which key it is, and nothing of it. */
      id: z.string(),
      /** How many volumes need it. */
      volumes: z.number(),
      /** Whether the server's file has it. */
      inFile: z.boolean(),
      /** Since when no volume needs it; null: one does, or that was longer ago than was looked. */
      unneededSince: moment,
    }),
  ),
});

export const rotationRequest = z.strictObject({
  ek: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in hex')
    .optional()
    .describe(
      'digest of the endorsement key of the TPM that the node has now; demanded where that is another one than the volume has, which then is bound to it',
    ),
});

export const volumeRemoved = z.object({ removed: z.string() });

/** Both as text: what `age --decrypt` takes. */
export const volumeEscrow = z.object({
  uuid: z.string(),
  /** The recovery passphrase. */
  recovery: z.string(),
  /** The header, as the node made it; null: none is kept yet. Absent if nobody asked for it. */
  header: z.string().nullable().optional(),
});
