import { CST, type Document, isScalar, Lexer, visit } from 'yaml';

/** Collections within collections, as brackets or on one line: a policy has six. */
const deepest = 32;
/** Words, values and signs: each takes the parser about 10 µs, and one that is misplaced more. */
const most = 1 << 16;

/** Tokens that begin a collection without a bracket. */
const nesting: ReadonlySet<string | null> = new Set(['seq-item-ind', 'explicit-key-ind', 'map-value-ind']);

/**
 * Why a text is too much to be parsed, in the time that it takes to read it once; null if it is not: the parser
 * goes down as deep as a text does, and keeps a fault for each place where it cannot go on.
 */
export function excessOf(text: string): string | null {
  let [brackets, inLine, parts] = [0, 0, 0];
  for (const lexeme of new Lexer().lex(text)) {
    const type = CST.tokenType(lexeme);
    if (type === 'space' || type === 'scalar') continue;
    if (type === 'newline') inLine = 0;
    else parts += 1;
    if (type === 'flow-map-start' || type === 'flow-seq-start') brackets += 1;
    else if (type === 'flow-map-end' || type === 'flow-seq-end') brackets -= 1;
    else if (brackets === 0 && nesting.has(type)) inLine += 1;
    if (brackets > deepest || inLine > deepest) return 'nested too deeply to be a policy';
    if (parts > most) return `more than ${most} words and signs; split it into fewer groups`;
  }
  return null;
}

/**
 * Keys that stand twice in one mapping, for which the library compares each with each; and `__proto__`, which some who
 * read the mapping never see.
 */
export function badKeys(document: Document): readonly { readonly offset: number; readonly text: string }[] {
  const found: { offset: number; text: string }[] = [];
  visit(document, {
    Map(_key, { items }) {
      const seen = new Set<string>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        const offset = key.range?.[0] ?? 0;
        if (seen.has(name)) found.push({ offset, text: 'Map keys must be unique' });
        if (name === '__proto__') found.push({ offset, text: '__proto__ is no key' });
        seen.add(name);
      }
    },
  });
  return found;
}
