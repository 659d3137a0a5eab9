import { z } from 'zod';
import { plainName } from '../../formats/reference.ts';
import { limits } from '../../wire/limits.ts';
import { isPlainPath } from '../../wire/mount-table.ts';
import { type DiskRules, defaultDiskRules, isNameSet, luksVersions, nameSets } from './rules.ts';

const sets = Object.keys(nameSets).join(', ');

export const diskSchema = z
  .strictObject({
    paths: z
      .array(
        z
          .string()
          .min(1)
          .max(1024)
          .refine(
            (word) => isNameSet(word) || (isPlainPath(word) && printed.test(word)),
            `neither an absolute path without . and .. nor one of ${sets}`,
          ),
      )
      .min(1, 'empty, so that nothing would be protected')
      .max(limits.paths)
      .describe(
        `what must be encrypted, as a whole: absolute paths, which must exist, or names of what counts where it exists (${sets}: ${Object.values(nameSets).join(', ')}). Default: all three names`,
      ),
    versions: z
      .array(z.enum(luksVersions))
      .min(1, 'empty, so that no volume could be right')
      .describe('LUKS versions that may be; default luks2 alone. Plain dm-crypt is never right'),
    ciphers: z
      .array(z.string().min(1).max(64))
      .min(1, 'empty, so that no volume could be right')
      .max(32)
      .describe(
        `globs on cipher, mode and IV of the live mapping; default ${defaultDiskRules.ciphers.join(', ')}. A null cipher is never right`,
      ),
    keySize: z
      .int()
      .min(128)
      .max(4096)
      .describe(
        `bits of the live mapping's key at least, of XTS both halves; default ${defaultDiskRules.keySize}`,
      ),
    keyslots: z
      .int()
      .min(1)
      .max(32)
      .describe(
        `keyslots of a volume that no reference knows, at most; default ${defaultDiskRules.keyslots}. With a reference its own keyslots count, and no other`,
      ),
    references: z
      .array(plainName)
      .min(1, 'empty, so that no volume could be known')
      .describe(
        'names of references of kind disk, of which one must know the volumes of each node; default: those of the group, where one was captured on the node',
      ),
    swap: z
      .enum(['encrypted', 'any'])
      .describe('any: swap may lie on an unencrypted device; default encrypted'),
    volumes: z
      .enum(['report', 'encrypted'])
      .describe(
        'volumes of pods below the folder of the kubelet (csi, nfs, iscsi, fc, local, …). report: whether they are encrypted is for their owners; encrypted: this node must encrypt each, which it never does for one that comes over a network. Default report',
      ),
    lease: z
      .enum(['none', 'required'])
      .describe(
        'required: each boot of a node whose disk keys the server keeps must be capped within a minute (PCR 15), so that nobody gets the keys after that; it counts from the first boot on that begins after the node was capped once, or a key was kept for it. Default none',
      ),
  })
  .partial()
  .describe(
    'what must be encrypted on the node, and how. The node says so: no TPM vouches for it (docs/disk.md)',
  );

/** Names of paths stand in messages and pages. */
const printed = /^[\x20-\x7e]+$/;

/** @param given what the file says under `disk`; undefined if it says nothing */
export function diskRules(given: unknown): DiskRules {
  const { paths, ...said } = diskSchema.parse(given ?? {});
  const own = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
  return {
    ...defaultDiskRules,
    ...own,
    ...(paths !== undefined && {
      paths: paths.map((word) =>
        isNameSet(word) ? { path: nameSets[word], required: false } : { path: word, required: true },
      ),
    }),
  };
}
