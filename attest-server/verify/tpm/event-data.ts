import { type EfiImage, efiImage, efiVariable } from './efi-structures.ts';
import { dynamicLaunchEvents, eventTypeName, noAction } from './event-types.ts';
import { handoffTables } from './handoff-tables.ts';
import { partitionTable } from './partition-table.ts';
import { localityIn } from './replay.ts';
import { byteText, shownText, utf16Text } from './shown-text.ts';
import { variableText } from './variable-text.ts';

/** The data of an event, by the structure that its type prescribes. */
export type EventData =
  | { readonly kind: 'image'; readonly image: EfiImage; readonly describes: string }
  | {
      readonly kind: 'text';
      readonly text: string;
      readonly utf16: boolean;
      readonly describes: string;
    }
  | { readonly kind: 'tag'; readonly tag: number; readonly describes: string }
  | { readonly kind: 'plain'; readonly describes: string };

/** Reads an event's data. It never fails: data that does not fit its type is described by its size. */
export function eventData(type: string, data: Buffer): EventData {
  const describe = describers[type];
  return describe?.(data) ?? textOr(data);
}

const describers: Readonly<Record<string, (data: Buffer) => EventData | null>> = {
  [eventTypeName(noAction)]: describeNoAction,
  EV_SEPARATOR: describeSeparator,
  EV_EVENT_TAG: describeTag,
  EV_IPL: describeLoaderText,
  EV_EFI_VARIABLE_DRIVER_CONFIG: (data) => describeVariable(data, false),
  EV_EFI_VARIABLE_BOOT: (data) => describeVariable(data, false),
  EV_EFI_VARIABLE_BOOT2: (data) => describeVariable(data, false),
  EV_EFI_VARIABLE_AUTHORITY: (data) => describeVariable(data, true),
  EV_EFI_BOOT_SERVICES_APPLICATION: describeImage,
  EV_EFI_BOOT_SERVICES_DRIVER: describeImage,
  EV_EFI_RUNTIME_SERVICES_DRIVER: describeImage,
  EV_EFI_PLATFORM_FIRMWARE_BLOB: describeBlob,
  EV_EFI_PLATFORM_FIRMWARE_BLOB2: describeBlob2,
  EV_EFI_SPDM_FIRMWARE_BLOB: (data) => plain(`firmware of a device by SPDM, ${data.length} bytes`),
  EV_EFI_SPDM_FIRMWARE_CONFIG: (data) => plain(`configuration of a device by SPDM, ${data.length} bytes`),
  EV_EFI_SPDM_DEVICE_POLICY: (data) => describeVariable(data, false),
  EV_EFI_SPDM_DEVICE_AUTHORITY: (data) => describeVariable(data, true),
  EV_EFI_GPT_EVENT: describePartitions,
  EV_EFI_GPT_EVENT2: describePartitions,
  EV_EFI_HANDOFF_TABLES: (data) => describeTables('handoff tables', data),
  EV_EFI_HANDOFF_TABLES2: describeTables2,
  ...Object.fromEntries(
    dynamicLaunchEvents.map(([type, name]) => [
      eventTypeName(type),
      (data: Buffer) => plain(`${name}, ${data.length} bytes`),
    ]),
  ),
};

function describeNoAction(data: Buffer): EventData {
  const locality = localityIn(data);
  if (locality !== null) return plain(`StartupLocality ${locality}`);
  const name = byteText(data.subarray(0, 16)) ?? '';
  return plain(name === '' ? `${data.length} bytes` : shownText(name));
}

/** The usual ones are zeros or ones; Windows writes a word, and firmware that failed a 1. PC Client PFP 1.06, section 3.3.2.2. */
function describeSeparator(data: Buffer): EventData {
  const value = data.toString('hex', 0, 16);
  const word = data.length === 4 && data[0] !== 0xff ? byteText(data) : null;
  const meaning = value === '01000000' ? 'error' : word;
  return plain(`separator ${value}${meaning === null ? '' : ` (${shownText(meaning)})`}`);
}

function describeVariable(data: Buffer, isAuthority: boolean): EventData | null {
  const variable = efiVariable(data);
  if (variable === null) return null;
  const { name, value } = variable;
  const text = variableText(name, value, isAuthority) ?? shortValue(name, value);
  return plain(shownText(text));
}

function shortValue(name: string, value: Buffer): string {
  return value.length <= 8
    ? `${name} = ${value.toString('hex') || 'empty'}`
    : `${name}, ${value.length} bytes`;
}

function describePartitions(data: Buffer): EventData {
  const table = partitionTable(data);
  if (table === null) return plain(`partition table, ${data.length} bytes`);
  const names = table.partitions.map((name) => name.trim() || 'unnamed').join(', ');
  return plain(shownText(`partition table of disk ${table.disk}: ${names || 'no partition'}`));
}

function describeTables(what: string, data: Buffer): EventData {
  const tables = handoffTables(data);
  return plain(
    shownText(tables === null ? `${what}, ${data.length} bytes` : `${what}: ${tables.join(', ')}`),
  );
}

/** UEFI_HANDOFF_TABLE_POINTERS2: a description before the tables. PC Client PFP 1.06, section 10.2.5. */
function describeTables2(data: Buffer): EventData {
  const size = data[0] ?? 0;
  const name = byteText(data.subarray(1, 1 + size));
  return describeTables(`handoff tables${name === null ? '' : ` ${name}`}`, data.subarray(1 + size));
}

function describeImage(data: Buffer): EventData | null {
  const image = efiImage(data);
  if (image === null) return null;
  const what = image.firmwareVolume ? 'image in firmware' : 'image in memory';
  const describes = image.file === '' ? `${what}, ${image.imageBytes} bytes` : shownText(image.file);
  return { kind: 'image', image, describes };
}

function describeBlob(data: Buffer): EventData | null {
  if (data.length !== 16) return null;
  const base = data.readBigUInt64LE(0).toString(16);
  return plain(`firmware blob at 0x${base}, ${data.readBigUInt64LE(8)} bytes`);
}

function describeBlob2(data: Buffer): EventData | null {
  const size = data[0] ?? 0;
  if (data.length !== 1 + size + 16) return null;
  const name = byteText(data.subarray(1, 1 + size)) ?? 'firmware blob';
  return plain(shownText(`${name}, ${data.readBigUInt64LE(1 + size + 8)} bytes`));
}

/** TCG_PCClientTaggedEvent: an identifier, a size, the data. PC Client PFP 1.06, section 10.4.2.1. */
function describeTag(data: Buffer): EventData | null {
  if (data.length < 8 || data.readUInt32LE(4) > data.length - 8) return null;
  const tag = data.readUInt32LE(0);
  const value = data.subarray(8, 8 + data.readUInt32LE(4));
  const text = printableUtf16(value) ?? byteText(value);
  const number = `0x${tag.toString(16).padStart(8, '0')}`;
  const describes = shownText(text === null ? `tag ${number}, ${value.length} bytes` : text);
  return { kind: 'tag', tag, describes };
}

/** Null for numbers that happen to look like UTF-16. */
function printableUtf16(data: Buffer): string | null {
  const text = utf16Text(data);
  return text === null || /\p{C}/u.test(text) ? null : text;
}

/** Text of a loader stays text even with control characters in it: else they would hide what the line does. */
function describeLoaderText(data: Buffer): EventData | null {
  const end = data.indexOf(0);
  const text = end < 0 ? data : data.subarray(0, end);
  if (text.length === 0 || text.length > longestLine || (end >= 0 && end < data.length - 1)) return null;
  const line = text.toString('utf8');
  return { kind: 'text', text: line, utf16: false, describes: shownText(line) };
}

const longestLine = 64 * 1024;

function textOr(data: Buffer): EventData {
  const wide = utf16Text(data);
  const text = wide ?? byteText(data);
  const number = data.length <= 8 ? data.toString('hex') : `${data.length} bytes`;
  if (text === null) return plain(number);
  const isNumber = data.length <= 8 && /[\p{C}\ufffd]/u.test(text);
  return { kind: 'text', text, utf16: wide !== null, describes: isNumber ? number : shownText(text) };
}

function plain(describes: string): EventData {
  return { kind: 'plain', describes };
}
