import { devicePathFile } from './efi-structures.ts';

/** EFI_LOAD_OPTION, what a Boot#### variable holds. UEFI 2.10, section 3.1.3. */
export interface LoadOption {
  readonly description: string;
  /** The file of the first device path; "" where it names a device alone. */
  readonly file: string;
  /** OptionalData: what is handed to the image, a view. */
  readonly data: Buffer;
}

const headerBytes = 6;

/** Null if the description does not end, or the lengths do not fit. */
export function loadOption(value: Buffer): LoadOption | null {
  if (value.length < headerBytes + 2) return null;
  let end = headerBytes;
  while (end + 2 <= value.length && value.readUInt16LE(end) !== 0) end += 2;
  const pathAt = end + 2;
  const pathEnd = pathAt + value.readUInt16LE(4);
  if (pathEnd > value.length) return null;
  const description = value.toString('utf16le', headerBytes, end);
  const { file } = devicePathFile(value.subarray(pathAt, pathEnd));
  return { description, file, data: value.subarray(pathEnd) };
}
