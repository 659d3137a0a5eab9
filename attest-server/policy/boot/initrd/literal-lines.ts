/** Shell that gives a literal value to a name, and does nothing else: what initramfs-tools and dracut source. */
const assignment =
  /^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=("[^"$`\\\n]*"|'[^'\n]*'|[A-Za-z0-9_.,:/%+@=-]*)[ \t]*(?:#.*)?$/;
const nothing = /^[ \t]*(?:#.*)?$/;

/** The name and value of such a line, or nothing; null if it is anything else. Attack: a command in a file that is sourced. */
export function literalLine(line: string): readonly [name: string, value: string] | 'nothing' | null {
  if (nothing.test(line)) return 'nothing';
  const [, name, value] = assignment.exec(line) ?? [];
  return name === undefined || value === undefined ? null : [name, value.replace(/^(["'])(.*)\1$/, '$2')];
}

/**
 * The first fault of a line, or null; in steps of some milliseconds.
 * @param bytes of the file: its lines are as bytes, as no two ways to read them
 */
export function* faultInLines(
  bytes: Buffer,
  faultOf: (line: string) => string | null,
): Generator<void, string | null> {
  let sinceYield = 0;
  for (let at = 0; at < bytes.length; ) {
    const found = bytes.subarray(at, at + longestLine).indexOf(newline);
    const end = found >= 0 ? at + found : bytes.length;
    if (end - at > longestLine) return 'it has a line that is too long';
    const fault = faultOf(bytes.toString('latin1', at, end));
    if (fault !== null) return fault;
    sinceYield += end - at + lineWeight;
    at = end + 1;
    if (sinceYield < inStep) continue;
    sinceYield = 0;
    yield;
  }
  return null;
}

const newline = 0x0a;
/** Bytes: a line of dependencies has some KB. */
const longestLine = 32 * 1024;
const inStep = 64 * 1024;
/** A line costs as much as so many bytes, whatever is in it. */
const lineWeight = 64;
