import { z } from 'zod';
import { limits } from '../../attest-server/wire/limits.ts';
import { parseJson } from '../../attest-server/wire/parse-json.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';

/** In the folder of `inspect`: the index, and beside it the copies, each named by its SHA-256. */
export const bootFolder = 'boot';
export const bootIndexFile = 'index.json';
export const bootIndexBytes = 4 * 1024 * 1024;
/** More than GRUB has files and modules. */
export const mostIndexed = 4096;

const hex = (length: number) => z.string().regex(new RegExp(`^[0-9a-f]{${length}}$`));

/**
 * `run/assay/inspect/boot/index.json`: what a boot loader may have read, by its digests. Of GRUB's files there are
 * copies, within the limits of `loaderFiles`; of initrds the digests, and a copy of the booted one where that is asked for.
 */
const bootIndex = z.strictObject({
  version: z.literal(1),
  /** RFC 3339, by the node's clock. */
  at: z.iso.datetime(),
  files: z
    .array(
      z.strictObject({
        /** Below the root. */
        path: z.string().max(4096),
        kind: z.enum(['loader', 'environment', 'initrd']),
        bytes: z.int().min(0),
        sha256: hex(64),
        sha384: hex(96),
        sha512: hex(128),
        /** Whether its bytes lie beside the index. */
        copied: z.boolean(),
        /** Device, inode, bytes and times: what has the same was not read again. Of initrds alone, which are large. */
        identity: z.string().max(128).nullable(),
      }),
    )
    .max(mostIndexed),
  /** Files that may not be looked at, or were left out, and why. */
  unread: z.array(z.string().max(256)).max(64),
});
export type BootIndex = z.infer<typeof bootIndex>;
export type IndexedFile = BootIndex['files'][number];

/** @throws Rejection `too_large`, `malformed` with the field */
export function parseBootIndex(bytes: Buffer): BootIndex {
  if (bytes.length > bootIndexBytes)
    throw new Rejection('too_large', `the index is longer than ${bootIndexBytes} bytes`, {
      field: bootIndexFile,
    });
  return parseJson(bytes.toString('utf8'), bootIndex, bootIndexFile);
}

/** Whether one more copy fits beside these. */
export function fits(copied: { readonly bytes: number; readonly count: number }, bytes: number): boolean {
  const { each, bytes: most, count } = limits.loaderFiles;
  return bytes <= each && copied.bytes + bytes <= most && copied.count < count;
}
