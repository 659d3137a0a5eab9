/** UEFI_VARIABLE_DATA. PC Client PFP 1.06, section 10.2.6. */
interface EfiVariable {
  readonly name: string;
  /** The variable's own data, a view. */
  readonly value: Buffer;
}

/** The size of a variable's header, before its name. */
export const variableHeaderBytes = 32;

/** Null if the lengths do not fit the data: such an event says nothing that we could believe. */
export function efiVariable(data: Buffer): EfiVariable | null {
  const value = variableValue(data, 0, data.length);
  return value && { name: variableName(data, 0), value };
}

/** The variable's own data, a view; null if the lengths do not fit. */
export function variableValue(bytes: Buffer, from: number, end: number): Buffer | null {
  if (end - from < variableHeaderBytes) return null;
  const nameCharacters = smallNumber(bytes, from + 16);
  const valueBytes = smallNumber(bytes, from + 24);
  const valueAt = from + variableHeaderBytes + nameCharacters * 2;
  if (nameCharacters > 512 || valueAt + valueBytes > end) return null;
  return bytes.subarray(valueAt, valueAt + valueBytes);
}

/** The name of a variable whose lengths fit. */
export function variableName(bytes: Buffer, from: number): string {
  const nameAt = from + variableHeaderBytes;
  return bytes.toString('utf16le', nameAt, nameAt + bytes.readUInt32LE(from + 16) * 2).replace(/\0+$/, '');
}

/** A 64-bit length; what does not fit 32 bits is larger than any log. */
function smallNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) === 0 ? bytes.readUInt32LE(at) : Number.POSITIVE_INFINITY;
}

/** As it is written: the first three parts lie in memory backwards. */
export function guidText(bytes: Buffer): string {
  const hex = (from: number, to: number) => bytes.toString('hex', from, to);
  const swapped = (from: number, to: number) =>
    Buffer.from(bytes.subarray(from, to)).reverse().toString('hex');
  return `${swapped(0, 4)}-${swapped(4, 6)}-${swapped(6, 8)}-${hex(8, 10)}-${hex(10, 16)}`;
}

/** UEFI_IMAGE_LOAD_EVENT. PC Client PFP 1.06, section 10.2.3. */
export interface EfiImage {
  /** The file of the device path, `\EFI\…`; "" where the image came from memory. */
  readonly file: string;
  /** The image lies in a firmware volume. */
  readonly firmwareVolume: boolean;
  readonly imageBytes: bigint;
}

export function efiImage(data: Buffer): EfiImage | null {
  const path = imagePath(data, 0, data.length);
  if (path === null) return null;
  const imageBytes =
    path.from === imageHeaderBytes.wide ? data.readBigUInt64LE(8) : BigInt(data.readUInt32LE(8));
  return { ...devicePathFile(data.subarray(path.from, path.to)), imageBytes };
}

/** Before the device path; its lengths are UINTN, which firmware of 32 bits has half as long. */
const imageHeaderBytes = { wide: 32, narrow: 20 } as const;

/** Where the device path of an image lies in an event's data; null if the lengths do not fit. */
export function imagePath(
  bytes: Buffer,
  from: number,
  end: number,
): { readonly from: number; readonly to: number } | null {
  const { wide, narrow } = imageHeaderBytes;
  if (end - from >= wide && bytes.readUInt32LE(from + wide - 4) === 0) {
    const to = from + wide + bytes.readUInt32LE(from + wide - 8);
    if (to <= end) return { from: from + wide, to };
  }
  if (end - from < narrow) return null;
  const to = from + narrow + bytes.readUInt32LE(from + narrow - 4);
  return to === end ? { from: from + narrow, to } : null;
}

/** The file that an EFI device path names. UEFI 2.10, section 10.3. */
export function devicePathFile(path: Buffer): { file: string; firmwareVolume: boolean } {
  let file = '';
  let firmwareVolume = false;
  for (let at = 0; at + 4 <= path.length; ) {
    const type = path[at];
    const subType = path[at + 1];
    const size = path.readUInt16LE(at + 2);
    if (size < 4 || at + size > path.length || type === 0x7f) break;
    if (type === 0x04 && subType === 0x04) {
      const part = path.toString('utf16le', at + 4, Math.min(at + size, at + 1024)).replace(/\0.*$/s, '');
      file = file === '' || part.startsWith('\\') ? file + part : `${file}\\${part}`;
    } else if (type === 0x04 && (subType === 0x06 || subType === 0x07)) firmwareVolume = true;
    at += size;
  }
  return { file, firmwareVolume };
}
