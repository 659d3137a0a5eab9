/** Types of files, as `st_mode` has them: inode(7). */
export const S_IFBLK = 0o060000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFIFO = 0o010000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFSOCK = 0o140000;

/** The bits S_IFMT: one of those above, where there is such a type. */
export function typeOfMode(mode: number): number {
  return mode & 0o170000;
}
