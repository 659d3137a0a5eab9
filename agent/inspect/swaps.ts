/** One entry of /proc/swaps: a device or a file, by its path. */
export interface Swap {
  /** One character a byte (latin1). */
  readonly path: string;
  readonly isDevice: boolean;
}

/**
 * /proc/swaps (proc(5)): a head, then a line each: Filename Type Size Used Priority. Blanks in a name are `\040`.
 * @throws RangeError for a line of another form
 */
export function parseSwaps(bytes: Buffer): readonly Swap[] {
  const [, ...lines] = bytes.toString('latin1').split('\n');
  return lines
    .filter((line) => line !== '')
    .map((line, index) => {
      const found = /^(\S{1,16384})\s+(partition|file)\s/.exec(line);
      if (found === null) throw new RangeError(`/proc/swaps, line ${index + 2}, has another form`);
      const [, name = '', type] = found;
      const path = name.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
      return { path, isDevice: type === 'partition' };
    });
}
