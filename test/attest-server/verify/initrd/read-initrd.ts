import type { InitrdEntry, InitrdManifest } from '../../../../attest-server/formats/initrd-manifest.ts';
import { type InitrdOptions, InitrdReader } from '../../../../attest-server/verify/initrd/initrd-reader.ts';

/** The manifest of an image, in pieces of that many bytes. */
export async function readInitrd(
  image: Buffer,
  options: InitrdOptions = {},
  pieceBytes = 1024 * 1024,
): Promise<InitrdManifest> {
  const reader = new InitrdReader(options);
  for (let at = 0; at < image.length; at += pieceBytes)
    await reader.push(image.subarray(at, at + pieceBytes));
  return reader.end();
}

/** What is there in the end, by path. */
export function made({ entries }: InitrdManifest): ReadonlyMap<string, InitrdEntry> {
  return new Map(
    entries
      .filter(({ replaced, unmade }) => replaced === undefined && unmade === undefined)
      .map((entry) => [entry.path, entry]),
  );
}

/** Only the codes. */
export function faultsOf({ faults }: InitrdManifest): readonly string[] {
  return faults.map(({ code }) => code);
}
