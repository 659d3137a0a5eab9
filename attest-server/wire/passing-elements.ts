/**
 * Elements of a set of nft that are the work of traffic: they time out, and a rule adds them, or may (`dynamic`). Attack:
 * an address in a list that nothing but people fills, added again before it times out.
 */
export function isPassing(element: unknown): boolean {
  const { elem } = fields(Array.isArray(element) ? element[0] : element);
  const { timeout, expires } = fields(elem);
  // Who is let in for years by an element that times out stays.
  return typeof timeout === 'number' ? timeout <= daySeconds : expires !== undefined;
}

const daySeconds = 86_400;

/** Names of the sets and maps to which these statements of a rule add elements. */
export function filledBy(statements: unknown): readonly string[] {
  if (!Array.isArray(statements)) return [];
  return statements.flatMap((statement: unknown) => {
    const { set, map } = fields(statement);
    const { op, set: ofSet, map: ofMap } = fields(set ?? map);
    const name = ofSet ?? ofMap;
    const isFilling = (op === 'add' || op === 'update') && typeof name === 'string' && name.startsWith('@');
    return isFilling ? [name.slice(1)] : [];
  });
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}
