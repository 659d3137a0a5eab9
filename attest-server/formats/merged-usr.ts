/** Folders that are links into /usr on every system of today; packages may name files by either path. */
const moved = /^\/(bin|sbin|lib|lib32|lib64|libo32|libx32)(?=\/)/;

/** The path by which the kernel knows a file: IMA tells it with no link in it. */
export function mergedUsr(path: string): string {
  return path.replace(moved, '/usr/$1');
}
