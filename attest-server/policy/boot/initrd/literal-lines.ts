/** Shell that gives literal values to names, and does nothing else: what initramfs-tools and dracut source. */
const assignment =
  /^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=("[^"$`\\\n]*"|'[^'\n]*'|[A-Za-z0-9_.,:/%+@=-]*)[ \t]*(?:#.*)?$/;
const nothing = /^[ \t]*(?:#.*)?$/;

/**
 * What such a file says; null where a line is anything else. Attack: a command in a file that is sourced.
 * @param bytes of the file
 */
export function literalLines(bytes: Buffer): ReadonlyMap<string, string> | null {
  const said = new Map<string, string>();
  for (const line of linesOf(bytes)) {
    if (nothing.test(line)) continue;
    const [, name, value] = assignment.exec(line) ?? [];
    if (name === undefined || value === undefined) return null;
    said.set(name, value.replace(/^(["'])(.*)\1$/, '$2'));
  }
  return said;
}

/** As bytes: no two ways to read them. */
export function linesOf(bytes: Buffer): readonly string[] {
  return bytes.toString('latin1').replace(/\n$/, '').split('\n');
}
