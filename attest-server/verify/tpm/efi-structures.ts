/** UEFI_VARIABLE_DATA. PC Client PFP 1.06, section 10.2.6. */
export interface EfiVariable {
  readonly guid: string;
  readonly name: string;
  /** Where the variable's own data begins, within the event's data. */
  readonly valueOffset: number;
  readonly valueSize: number;
}

/** Null where the lengths do not fit the data: such an event says nothing that we could believe. */
export function efiVariable(data: Buffer): EfiVariable | null {
  if (data.length < 32) return null;
  const nameCharacters = data.readBigUInt64LE(16);
  const valueBytes = data.readBigUInt64LE(24);
  const room = BigInt(data.length - 32);
  if (nameCharacters > 512n || nameCharacters * 2n + valueBytes > room) return null;
  const valueOffset = 32 + Number(nameCharacters) * 2;
  const name = data.toString('utf16le', 32, valueOffset).replace(/\0+$/, '');
  return { guid: guidText(data.subarray(0, 16)), name, valueOffset, valueSize: Number(valueBytes) };
}

/** The variable's own data, a view; null where the lengths do not fit. The same structure, without its texts. */
export function variableValue(bytes: Buffer, from: number, end: number): Buffer | null {
  if (end - from < 32) return null;
  const nameCharacters = smallNumber(bytes, from + 16);
  const valueBytes = smallNumber(bytes, from + 24);
  const valueAt = from + 32 + nameCharacters * 2;
  if (nameCharacters > 512 || valueAt + valueBytes > end) return null;
  return bytes.subarray(valueAt, valueAt + valueBytes);
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
  if (data.length < 32) return null;
  const pathBytes = data.readBigUInt64LE(24);
  if (pathBytes > BigInt(data.length - 32)) return null;
  const imageBytes = data.readBigUInt64LE(8);
  return { ...devicePathFile(data.subarray(32, 32 + Number(pathBytes))), imageBytes };
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
