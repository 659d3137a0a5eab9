/** The output of `dmsetup table --manglename none`, by the mapping's name as the kernel has it. Keys are taken out. */
export type MappingTables = ReadonlyMap<string, readonly string[]>;

const most = { line: 4096, targets: 64 };

/**
 * @param names of all mappings: a name may hold a colon
 * @returns lines that belong to none of them, or that are too long or too many, are reported in `faults`
 */
export function parseMappingTables(
  text: string,
  names: readonly string[],
): { readonly tables: MappingTables; readonly faults: string[] } {
  const longestFirst = [...names].sort((a, b) => b.length - a.length);
  const tables = new Map<string, string[]>();
  const faults = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '' || line === 'No devices found') continue;
    const name = longestFirst.find((one) => line.startsWith(`${one}: `));
    if (name === undefined) {
      // One that came meanwhile, or a mapping without a table: nothing is said of it.
      faults.add('a table of a mapping that sysfs does not show');
      continue;
    }
    const table = tables.get(name) ?? [];
    const target = withoutKeys(line.slice(name.length + 2));
    if (target.length > most.line || table.length >= most.targets)
      faults.add(`the table of ${name} is too long`);
    else if (target !== '') table.push(target);
    tables.set(name, table);
  }
  return { tables, faults: [...faults] };
}

/** Targets whose second parameter is a key. */
const keyed: ReadonlySet<string> = new Set(['crypt', 'default-key', 'inlinecrypt']);

/**
 * A target's line as it was, but for a key: it stands as its length in bytes, `:64:`. An old dmsetup prints it, and a
 * new one prints zeros. A key in the keyring (`:64:logon:name`) is named, not printed, and stays.
 */
export function withoutKeys(target: string): string {
  const words = target.split(' ');
  const [, , type = ''] = words;
  if (keyed.has(type)) {
    const key = words[4];
    if (key !== undefined) words[4] = keyWord(key);
  } else if (type === 'integrity')
    for (const [index, word] of words.entries())
      words[index] = word.replace(
        /^((?:internal_hash|journal_crypt|journal_mac):[^:]*):(.*)$/,
        (_, what: string, key: string) => `${what}${lengthOf(key)}`,
      );
  return words.join(' ');
}

function keyWord(key: string): string {
  // No key at all: the null cipher has none.
  if (key === '-' || key === '0' || /^:\d{1,4}:[a-z]{1,16}:/.test(key)) return key;
  return lengthOf(key);
}

/** Always removed: something that does not look like a hex key may still be one. */
function lengthOf(key: string): string {
  return `:${Math.ceil(key.length / 2)}:`;
}
