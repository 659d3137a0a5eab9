import { z } from 'zod';
import { partBytes } from './evidence.ts';
import { parseJson } from './parse-json.ts';
import { Rejection } from './rejection.ts';

/** Kinds of files that the next boot goes by, in its order: Secure Boot's databases, boot loaders, the newest kernel, its initrd. */
export const installedKinds = ['database', 'loader', 'kernel', 'initrd'] as const;
export type InstalledKind = (typeof installedKinds)[number];

/** On one line. */
const words = (most: number) => z.string().regex(new RegExp(`^[\\x20-\\x7e]{1,${most}}$`));

/** The part `installed`: what lies ready on a node for its next boot, by the node's word alone. JSON, UTF-8. */
const installedPart = z.strictObject({
  version: z.literal(1),
  files: z
    .array(
      z.strictObject({
        kind: z.enum(installedKinds),
        /** Below the root; of a database, its name. */
        path: words(512),
        /** RFC 3339: when it was last written, by the node's file system; null if that says nothing. */
        since: z.iso.datetime().nullable(),
        /** The firmware's log of the present boot has one of these digests. */
        booted: z.boolean(),
        /** SHA-256 and SHA-384 of what firmware or loader may measure of it, in hex: the file, and its image. */
        digests: z
          .array(z.string().regex(/^[0-9a-f]{64}(?:[0-9a-f]{32})?$/))
          .min(1)
          .max(4),
      }),
    )
    .max(64),
  /** Why something of it is missing here. */
  unread: z.array(words(256)).max(16),
});
export type InstalledPart = z.infer<typeof installedPart>;
export type InstalledFile = InstalledPart['files'][number];

/** @throws Rejection `too_large`, `malformed` with the field */
export function parseInstalled(bytes: Buffer): InstalledPart {
  if (bytes.length > partBytes.installed)
    throw new Rejection('too_large', `the part is longer than ${partBytes.installed} bytes`, {
      field: 'installed',
    });
  return parseJson(bytes.toString('utf8'), installedPart, 'installed');
}
