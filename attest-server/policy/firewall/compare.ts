import { type DiffLine, diffLines } from '../line-diff.ts';
import { shownText } from './nft-json.ts';
import { baseText, type Chain, isIdle, type NamedObject, type Rule, type Ruleset } from './ruleset.ts';

/** How one chain, or one named object, differs from what the baseline has. */
export interface RulesetDifference {
  /** `iptables ip filter INPUT` */
  readonly name: string;
  /** Null if the side has none. */
  readonly before: ComparedSide | null;
  readonly after: ComparedSide | null;
  readonly lines: readonly DiffLine[];
}

interface ComparedSide {
  readonly chain: Chain | null;
  readonly head: string;
  readonly texts: readonly string[];
  readonly shown: (place: number) => string;
}

/** Both are `comparedOf`. In the order of the baseline's names, then what it has not. */
export function compareRulesets(baseline: Ruleset, node: Ruleset): readonly RulesetDifference[] {
  const before = sides(baseline);
  const after = sides(node);
  const differences: RulesetDifference[] = [];
  const compare = (name: string) => {
    const one = before.get(name) ?? null;
    const other = after.get(name) ?? null;
    const idle = one === null ? other : other === null ? one : null;
    // Whoever looks at a table of iptables makes its chains.
    if (idle !== null && idle.chain !== null && isIdle(idle.chain)) return;
    const lines = diffLines(one?.texts ?? [], other?.texts ?? []);
    if (one?.head === other?.head && lines.every(({ is }) => is === 'same')) return;
    differences.push({ name, before: one, after: other, lines });
  };
  for (const name of before.keys()) compare(name);
  for (const name of after.keys()) if (!before.has(name)) compare(name);
  return differences;
}

/** Gone where the kernel, or a jump, entered it: a built-in chain that accepts all and is not made is there all the same. */
export function isMissingChain({ before, after }: RulesetDifference): boolean {
  return after === null && before?.chain != null && !isBuiltInOpen(before.chain);
}

function isBuiltInOpen({ kind, base }: Chain): boolean {
  return kind !== 'nft' && base?.policy === 'accept';
}

export function rulesThat(
  is: 'added' | 'removed' | 'moved-to',
  { lines, before, after }: RulesetDifference,
): readonly Rule[] {
  const side = is === 'removed' ? before : after;
  return lines
    .filter((line) => line.is === is)
    .flatMap((line) => side?.chain?.rules[is === 'removed' ? line.before : line.after] ?? []);
}

/** Lines around a change that stay as they are. */
const context = 1;

/** A unified diff, as a person reads it: at most as many lines as asked for. */
export function shownDifferences(differences: readonly RulesetDifference[], most: number): readonly string[] {
  const out: string[] = [];
  for (const { name, before, after, lines } of differences) {
    if (out.length >= most) break;
    // Said in our words: with a head or empty, its lines would look like those of a chain that is known.
    const isNew = before === null && after?.chain != null;
    out.push(`@@ ${isNew ? 'new ' : ''}${name} @@`);
    if (before?.head !== after?.head) {
      if (before !== null && before.head !== '') out.push(`- ${before.head}`);
      if (after !== null && after.head !== '') out.push(`+ ${after.head}`);
    }
    const changed = lines.map(({ is }) => is !== 'same');
    let last = -1;
    for (let i = 0; i < lines.length && out.length < most; i++) {
      const isNear = changed[i] || changed.slice(Math.max(0, i - context), i + context + 1).includes(true);
      if (!isNear) continue;
      if (last >= 0 && i > last + 1) out.push('  …');
      last = i;
      out.push(lineText(lines[i]!, before, after));
    }
  }
  return out;
}

/** How many lines came, went and moved, in all. */
export function sumOf(differences: readonly RulesetDifference[]): string {
  const counts = { added: 0, removed: 0, moved: 0, heads: 0 };
  for (const { before, after, lines } of differences) {
    if (before !== null && after !== null && before.head !== after.head) counts.heads++;
    for (const { is } of lines)
      if (is === 'added' || is === 'removed') counts[is]++;
      else if (is === 'moved-to') counts.moved++;
  }
  const told = [
    [counts.added, 'added'],
    [counts.removed, 'removed'],
    [counts.moved, 'moved'],
  ] as const;
  const words = told.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  if (counts.heads > 0) words.push(`${counts.heads} with another hook or policy`);
  return words.length === 0 ? 'another set of chains' : words.join(', ');
}

function lineText(line: DiffLine, before: ComparedSide | null, after: ComparedSide | null): string {
  switch (line.is) {
    case 'same':
      return `  ${after?.shown(line.after) ?? ''}`;
    case 'removed':
      return `- ${before?.shown(line.before) ?? ''}`;
    case 'added':
      return `+ ${after?.shown(line.after) ?? ''}`;
    case 'moved-from':
      return `- ${before?.shown(line.before) ?? ''} (moved to place ${line.after + 1})`;
    case 'moved-to':
      return `+ ${after?.shown(line.after) ?? ''} (moved from place ${line.before + 1})`;
  }
}

function sides({ chains, objects }: Ruleset): ReadonlyMap<string, ComparedSide> {
  const all = new Map<string, ComparedSide>();
  for (const [key, chain] of chains) all.set(key, ofChain(chain));
  for (const [key, object] of objects) all.set(key, ofObject(object));
  return all;
}

function ofChain(chain: Chain): ComparedSide {
  return {
    chain,
    head: chain.base === null ? '' : baseText(chain.base),
    texts: chain.rules.map(({ text }) => text),
    shown: (place) => chain.rules[place]?.shown() ?? '',
  };
}

function ofObject({ head, elements }: NamedObject): ComparedSide {
  return { chain: null, head, texts: elements, shown: (place) => shownText(elements[place] ?? '') };
}
