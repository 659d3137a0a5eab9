import { z } from 'zod';
import { diskPart, type Inspected } from '../../attest-server/wire/disk.ts';
import { parseJson } from '../../attest-server/wire/parse-json.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';

/** Where `assay-agent inspect` writes, below the root: mode 0750, root:assay. */
export const inspectFolder = 'run/assay/inspect';

/** In that folder: JSON, UTF-8, one `InspectedFile`. */
export const inspectedDiskFile = 'disk.json';

/** The most bytes of the file: 64 headers of some KiB, and the tables. */
export const inspectedDiskBytes = 4 * 1024 * 1024;

/** The age up to which it counts: two hours, and `inspect` runs hourly. */
export const inspectedFor = 7_200_000;

/** A clock that was put back since. */
const ahead = 300_000;

/**
 * `run/assay/inspect/disk.json`. `inspected` is that member of the part `disk`, to be taken as it is. `tables` are the
 * live device-mapper tables by `major:minor`, a line a target, as `dmsetup table` prints it after the name:
 * `0 491520 crypt aes-xts-plain64 :64:logon:cryptsetup:… 0 254:48 32768`. No key is in it: a key in the table stands as
 * `:64:` (its bytes, and no description), one in the keyring as the kernel names it. That goes to `mapping.table`.
 */
export interface InspectedFile {
  readonly version: 1;
  readonly inspected: Inspected;
  readonly tables: Readonly<Record<string, readonly string[]>>;
  /** Why `tables` are missing or are not all; null if each mapping has its table. */
  readonly tablesUnread: string | null;
}

const device = z.string().regex(/^\d{1,10}:\d{1,10}$/);
const inspectedFile = z.strictObject({
  version: z.literal(1),
  inspected: diskPart.shape.inspected.options[0],
  tables: z
    .record(device, z.array(z.string().max(4096)).max(64))
    .refine((tables) => Object.keys(tables).length <= 1024, 'more than 1024 tables'),
  tablesUnread: z.string().max(256).nullable(),
});

/** @throws Rejection `too_large`, `malformed` with the field */
export function parseInspectedFile(bytes: Buffer): InspectedFile {
  if (bytes.length > inspectedDiskBytes)
    throw new Rejection('too_large', `${inspectedDiskFile} is longer than ${inspectedDiskBytes} bytes`, {
      field: inspectedDiskFile,
    });
  return parseJson(bytes.toString('utf8'), inspectedFile, inspectedDiskFile);
}

/** As the part has it: no rule reads the time, and with it each hour's part would be another one. @param at RFC 3339, UTC */
export function dayOf(at: string): string {
  return new Date(Date.parse(at.slice(0, 10))).toISOString();
}

/**
 * Why what `inspect` wrote at that time does not count now; null if it does.
 * @param at RFC 3339, as the file says it
 * @param now milliseconds since 1970
 */
export function ageFault(at: string, now: number): string | null {
  const age = now - Date.parse(at);
  if (age <= inspectedFor && age >= -ahead) return null;
  const how = age > 0 ? `is ${Math.floor(age / 60_000)} min old` : `says it is of ${at}, which is to come`;
  return `what assay-agent inspect wrote ${how}: systemctl start assay-inspect`;
}
