/** An object or a list that is open: its members' names, null in a list, and where in it the reader is. */
interface OpenValue {
  readonly names: Set<string> | null;
  place: string | number;
}

/**
 * The path to the first member that an object of this JSON has twice, such as `groups.0.name`; null if there is none. RFC
 * 8259, section 4, leaves to each reader which of them counts, so what one person reads is not what another program does.
 * @param text valid JSON
 */
export function repeatedMember(text: string): string | null {
  const open: OpenValue[] = [];
  let mayBeName = false;
  // Not by recursion: a text can nest deeper than a stack.
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    const inner = open.at(-1);
    if (sign === '"') {
      const end = endOfString(text, at);
      if (mayBeName && inner?.names) {
        const name = nameIn(text.slice(at, end));
        inner.place = name;
        if (inner.names.has(name)) return open.map(({ place }) => place).join('.');
        inner.names.add(name);
        mayBeName = false;
      }
      at = end - 1;
    } else if (sign === '{' || sign === '[') {
      open.push({ names: sign === '{' ? new Set() : null, place: 0 });
      mayBeName = sign === '{';
    } else if (sign === '}' || sign === ']') open.pop();
    else if (sign === ',') {
      if (typeof inner?.place === 'number') inner.place += 1;
      mayBeName = true;
    }
  }
  return null;
}

/** Behind the quote that closes it. */
function endOfString(text: string, from: number): number {
  for (let end = text.indexOf('"', from + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text[before] === '\\') before -= 1;
    // An even number of backslashes escape each other.
    if ((end - before) % 2 === 1) return end + 1;
  }
  return text.length;
}

/** The same name may be written in several ways. */
function nameIn(quoted: string): string {
  return quoted.includes('\\') ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
}
