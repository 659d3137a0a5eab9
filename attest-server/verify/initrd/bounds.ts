import { limits } from '../../wire/limits.ts';

/** Limits on an initrd; beyond them nothing is said of it. */
export interface InitrdBounds {
  /** The size of the image, and of all that is unpacked of it. */
  readonly imageBytes: number;
  readonly unpackedBytes: number;
  /** Unpacked bytes for each of the image, beyond the first ones. */
  readonly ratio: { readonly from: number; readonly times: number };
  readonly archives: number;
  readonly entries: number;
  /** Characters of all paths and targets of links. */
  readonly names: number;
  /** The size of one file that is kept, and of all; a larger one is known by its digest alone. */
  readonly contentBytes: number;
  readonly contentsBytes: number;
}

/** The largest of real machines hold an operating system's whole image, of some 500 MB, which packs badly. */
export const initrdBounds: InitrdBounds = {
  imageBytes: limits.initrd.image,
  unpackedBytes: 2 * 1024 ** 3,
  ratio: { from: 64 * 1024 * 1024, times: 64 },
  archives: limits.initrd.archives,
  entries: limits.initrd.entries,
  names: 8 * 1024 * 1024,
  contentBytes: 1024 * 1024,
  contentsBytes: 8 * 1024 * 1024,
};
