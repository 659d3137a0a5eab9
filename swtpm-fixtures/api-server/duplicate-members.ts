const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/g;

interface Open {
  readonly path: string;
  /** Null in a list. */
  readonly names: Set<string> | null;
  index: number;
  /** Where the next value stands. */
  member: string;
}

/** Members that stand twice in one object of a JSON text, as strict decoding names them. The text is valid. */
export function duplicateMembers(text: string): readonly string[] {
  const found: string[] = [];
  const open: Open[] = [];
  let isName = false;
  for (const [token] of text.matchAll(tokens)) {
    const inside = open.at(-1);
    if (token === '{' || token === '[') {
      const path = inside === undefined ? '' : inside.member;
      const isObject = token === '{';
      open.push({
        path,
        names: isObject ? new Set() : null,
        index: 0,
        member: isObject ? path : `${path}[0]`,
      });
      isName = isObject;
    } else if (token === '}' || token === ']') {
      open.pop();
      isName = false;
    } else if (token === ',' && inside !== undefined) {
      inside.index += 1;
      if (inside.names === null) inside.member = `${inside.path}[${inside.index}]`;
      isName = inside.names !== null;
    } else if (isName && inside !== undefined && inside.names !== null) {
      const name: string = JSON.parse(token);
      inside.member = inside.path === '' ? name : `${inside.path}.${name}`;
      if (inside.names.has(name)) found.push(`duplicate field "${inside.member}"`);
      inside.names.add(name);
      isName = false;
    }
  }
  return found;
}
