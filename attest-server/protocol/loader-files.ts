import { limits } from './limits.ts';
import { Rejection } from './rejection.ts';

/** What the content of a file shows it to be. */
export const fileContents = ['text', 'environment', 'font', 'module', 'code', 'archive', 'other'] as const;
export type FileContent = (typeof fileContents)[number];

/** What a boot loader reads and runs nothing of: text, GRUB's environment, fonts; and modules of GRUB. */
export const loaderContents: ReadonlySet<string> = new Set<FileContent>([
  'text',
  'environment',
  'font',
  'module',
]);

/** Bytes with which a list of files begins. */
export const fileListHead = 'assay/loader-files/1\n';

/** The part `loaderFiles`: SHA-256 digests of files that explain what a loader measured, ascending, one a line. */
export function fileList(digests: Iterable<string>): Buffer {
  return Buffer.from(
    `${fileListHead}${[...new Set(digests)]
      .sort()
      .map((digest) => `${digest}\n`)
      .join('')}`,
  );
}

/** @throws Rejection `malformed`, `too_large` */
export function parseFileList(bytes: Buffer): readonly string[] {
  if (bytes.length > limits.parts.loaderFiles)
    throw new Rejection('too_large', `a list of files of ${bytes.length} bytes`, {
      field: 'parts.loaderFiles',
    });
  const text = bytes.toString('latin1');
  const digests = text.slice(fileListHead.length).split('\n').slice(0, -1);
  if (!text.startsWith(fileListHead) || digests.some((digest) => !/^[0-9a-f]{64}$/.test(digest)))
    throw notOne('it holds something else than SHA-256 digests');
  if (digests.length > limits.loaderFiles.count)
    throw new Rejection('too_large', `a list of ${digests.length} files`, { field: 'parts.loaderFiles' });
  if (!fileList(digests).equals(bytes)) throw notOne('its digests are not in order');
  return digests;
}

function notOne(text: string): Rejection {
  return new Rejection('malformed', `no list of a loader's files: ${text}`, { field: 'parts.loaderFiles' });
}
