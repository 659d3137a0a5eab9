import { type EfiImage, type EfiVariable, efiImage, efiVariable } from './efi-structures.ts';
import { eventTypeName, noAction } from './event-types.ts';
import { byteText, shownText, utf16Text } from './shown-text.ts';

/** What an event's data says, by the structure that its type prescribes. */
export type EventData =
  | { readonly kind: 'variable'; readonly variable: EfiVariable; readonly describes: string }
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
  EV_SEPARATOR: (data) => plain(`separator ${data.toString('hex', 0, 16)}`),
  EV_EVENT_TAG: describeTag,
  EV_IPL: describeLoaderText,
  EV_EFI_VARIABLE_DRIVER_CONFIG: describeVariable,
  EV_EFI_VARIABLE_BOOT: describeVariable,
  EV_EFI_VARIABLE_BOOT2: describeVariable,
  EV_EFI_VARIABLE_AUTHORITY: describeVariable,
  EV_EFI_BOOT_SERVICES_APPLICATION: describeImage,
  EV_EFI_BOOT_SERVICES_DRIVER: describeImage,
  EV_EFI_RUNTIME_SERVICES_DRIVER: describeImage,
  EV_EFI_PLATFORM_FIRMWARE_BLOB: describeBlob,
  EV_EFI_PLATFORM_FIRMWARE_BLOB2: describeBlob2,
  EV_EFI_GPT_EVENT: (data) => plain(`partition table, ${data.length} bytes`),
  EV_EFI_HANDOFF_TABLES: (data) => plain(`handoff tables, ${data.length} bytes`),
};

function describeNoAction(data: Buffer): EventData {
  const name = byteText(data.subarray(0, 16)) ?? '';
  if (name === 'StartupLocality' && data.length === 17) return plain(`StartupLocality ${data[16]}`);
  return plain(name === '' ? `${data.length} bytes` : shownText(name));
}

function describeVariable(data: Buffer): EventData | null {
  const variable = efiVariable(data);
  if (variable === null) return null;
  const { name, valueOffset, valueSize } = variable;
  const value = valueSize <= 8 ? data.toString('hex', valueOffset, valueOffset + valueSize) : null;
  const describes = shownText(
    value === null ? `${name}, ${valueSize} bytes` : `${name} = ${value || 'empty'}`,
  );
  return { kind: 'variable', variable, describes };
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
  const text = utf16Text(value) ?? byteText(value);
  const number = `0x${tag.toString(16).padStart(8, '0')}`;
  const describes = shownText(text === null ? `tag ${number}, ${value.length} bytes` : text);
  return { kind: 'tag', tag, describes };
}

/** What a loader wrote is text even with control characters in it: else they would hide what the line does. */
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
  if (text !== null) return { kind: 'text', text, utf16: wide !== null, describes: shownText(text) };
  return plain(data.length <= 8 ? data.toString('hex') : `${data.length} bytes`);
}

function plain(describes: string): EventData {
  return { kind: 'plain', describes };
}
