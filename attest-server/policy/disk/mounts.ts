import { type Mount, parseMountTable } from '../../wire/mount-table.ts';
import { Rejection } from '../../wire/rejection.ts';

/** The mounts of a part. @throws Rejection `malformed`, `too_large` */
export function parseMounts(lines: readonly string[]): readonly Mount[] {
  const wrong = lines.findIndex((line) => !oneLine.test(line));
  if (wrong >= 0)
    throw new Rejection('malformed', `disk field mounts.${wrong}: no line of bytes`, {
      field: `mounts.${wrong}`,
    });
  return parseMountTable(Buffer.from(lines.map((line) => `${line}\n`).join(''), 'latin1'));
}

/** Attack: a character beyond latin1 would become another byte. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: of bytes, all but the line's end
const oneLine = /^[\x00-\x09\x0b-\xff]*$/;
