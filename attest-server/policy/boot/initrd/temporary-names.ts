/** Names that hooks let `mktemp` find, and dates: others each time an initrd is made. */
const temporary: readonly (readonly [found: RegExp, name: string])[] = [
  // dropbear's, of root's folder, and console-setup's, of its keymap.
  [/(?<![\w.-])root-[A-Za-z0-9]{10}(?![\w.-])/g, 'root-XXXXXXXXXX'],
  // mdadm's hook writes when it found no arrays.
  [/^(# This configuration was auto-generated) on [A-Za-z]+, [A-Za-z0-9:+ -]{1,40} (by mkconf)$/gm, '$1 $2'],
  [/(?<![\w.-])tmpkbd\.[A-Za-z0-9]{6}(?![\w.-])/g, 'tmpkbd.XXXXXX'],
];

/** A text with the pattern in place of each such name, and without such dates. */
export function maskTemporaryNames(text: string): string {
  let masked = text;
  for (const [found, name] of temporary) masked = masked.replace(found, name);
  return masked;
}

const places = /^\/(?:root-[A-Za-z0-9]{10}\/|etc\/console-setup\/tmpkbd\.[A-Za-z0-9]{6}$)/;

/** The place of a file by which siblings have it. @param path begins with a slash */
export function lastingPlace(path: string): string {
  return places.test(path) ? maskTemporaryNames(path) : path;
}
