import { type DigestLines, digestLines, parseDigestLines } from './digest-lines.ts';
import { limits } from './limits.ts';

/** Where loaders, and the kernel's stub, measure the files that they read: kernels, initrds, configuration. */
export const filePcr = 9;

/** Kinds of a file's content. */
export const fileContents = ['text', 'environment', 'font', 'module', 'code', 'archive', 'other'] as const;
export type FileContent = (typeof fileContents)[number];

/** Content that a boot loader reads and never runs: text, GRUB's environment, fonts; and modules of GRUB. */
export const loaderContents: ReadonlySet<string> = new Set<FileContent>([
  'text',
  'environment',
  'font',
  'module',
]);

/** Bytes with which a list of files begins. */
export const fileListHead = 'assay/loader-files/1\n';
const form: DigestLines = { head: fileListHead, part: 'loaderFiles', count: limits.loaderFiles.count };

/** The part `loaderFiles`: files that explain what a loader measured. */
export const fileList = (digests: Iterable<string>): Buffer => digestLines(form, digests);

/** @throws Rejection `malformed`, `too_large` */
export const parseFileList = (bytes: Buffer): readonly string[] => parseDigestLines(form, bytes);
