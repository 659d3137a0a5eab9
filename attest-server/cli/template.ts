import { printable } from '../wire/printable.ts';
import { CliError, exit } from './exit.ts';
import { table } from './table.ts';

/** kubectl's `-o jsonpath=` and `-o custom-columns=`, as far as both walk along names, indexes and `[*]`. */
export type OutputTemplate = (value: unknown, headers: boolean) => string;

/** @throws CliError (usage) naming what is not understood */
export function parseJsonPath(text: string): OutputTemplate {
  const parts = parseParts(text);
  return (value) => parts.map((part) => textOf(part, value)).join('');
}

/** `HEADING:.path,…`; a row for each item of a list, else one. @throws CliError (usage) naming what is not understood */
export function parseCustomColumns(text: string): OutputTemplate {
  const columns = text.split(',').map((column) => {
    const colon = column.indexOf(':');
    if (colon < 1) throw wrong(column, 'a column is HEADING:.path, as in NAME:.name,STATE:.state');
    return { heading: printable(column.slice(0, colon)), path: parsePath(column.slice(colon + 1)) };
  });
  return (value, headers) => {
    const isList = typeof value === 'object' && value !== null && 'items' in value;
    const items = isList && Array.isArray(value.items) ? value.items : [value];
    const rows = items.map((item) =>
      columns.map(({ path }) => valuesAt(item, path).map(shown).join(',') || '<none>'),
    );
    const whole = table(
      columns.map(({ heading }) => heading),
      rows,
    );
    return headers ? whole : whole.slice(whole.indexOf('\n') + 1);
  };
}

/** A member by its name, an item by its index (the last one is -1), or all of them. */
type PathStep = string | number | typeof all;
const all = Symbol('all');
type ValuePath = readonly PathStep[];

type TemplatePart =
  | { readonly text: string }
  | { readonly path: ValuePath }
  | { readonly range: ValuePath; readonly parts: readonly TemplatePart[] };

/** Ranges within each other: more of them nobody types. */
const deepest = 8;

function parseParts(text: string): readonly TemplatePart[] {
  const outermost: TemplatePart[] = [];
  const open: { readonly range: ValuePath; readonly parts: TemplatePart[] }[] = [];
  const tokens = text.matchAll(/\{((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^{}"'])*)\}|[^{]+|\{/g);
  for (const [whole, inner] of tokens) {
    const parts = open.at(-1)?.parts ?? outermost;
    const [, range] = /^\s*range\s+(.*)$/s.exec(inner ?? '') ?? [];
    if (whole === '{') throw wrong(text, 'a brace is not closed');
    if (inner === undefined) parts.push({ text: whole });
    else if (range !== undefined) {
      if (open.length >= deepest)
        throw wrong(text, `there are more than ${deepest} ranges within each other`);
      open.push({ range: parsePath(range), parts: [] });
    } else if (inner.trim() === 'end') {
      const closed = open.pop();
      if (closed === undefined) throw wrong(text, 'an {end} has no {range}');
      (open.at(-1)?.parts ?? outermost).push(closed);
    } else parts.push(/^\s*"/.test(inner) ? { text: literal(inner) } : { path: parsePath(inner) });
  }
  if (open.length > 0) throw wrong(text, 'a {range} has no {end}');
  if (outermost.length === 0) throw wrong(text, 'it is empty: write it like {.items[*].name}');
  return outermost;
}

/** `{"\n"}` */
function literal(inner: string): string {
  try {
    return String(JSON.parse(inner));
  } catch (cause) {
    throw wrong(inner, 'that is no text in double quotes', cause);
  }
}

function parsePath(text: string): ValuePath {
  const trimmed = text.trim();
  const whole = /^[\w-]/.test(trimmed) ? `.${trimmed}` : trimmed.replace(/^\$(?=[.[]|$)/, '');
  const steps: PathStep[] = [];
  const step = /\.([\w-]+)|\[(-?\d{1,9})\]|(\[\*\]|\.\*)|\[(?:'([^']*)'|"([^"]*)")\]/y;
  while (step.lastIndex < whole.length && whole !== '.') {
    const at = step.lastIndex;
    const [, name, index, every, single, double] = step.exec(whole) ?? [];
    const member = name ?? single ?? double;
    if (every !== undefined) steps.push(all);
    else if (index !== undefined) steps.push(Number(index));
    else if (member !== undefined) steps.push(member);
    else throw wrong(whole.slice(at), "a path has steps like .name, ['name'], [0], [-1] and [*]");
  }
  if (whole === '') throw wrong(text, 'a path is missing: write it like .name');
  return steps;
}

function valuesAt(value: unknown, path: ValuePath): readonly unknown[] {
  let found: readonly unknown[] = [value];
  for (const step of path) found = found.flatMap((each) => stepInto(each, step));
  return found;
}

/** Nothing where there is nothing, as kubectl does. */
function stepInto(value: unknown, step: PathStep): readonly unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  if (step === all) return Object.values(value);
  if (typeof step === 'number') return Array.isArray(value) ? value.slice(step, step + 1 || undefined) : [];
  const member = Object.entries(value).find(([name]) => name === step && !Array.isArray(value));
  return member === undefined ? [] : [member[1]];
}

function textOf(part: TemplatePart, value: unknown): string {
  if ('text' in part) return part.text;
  if ('path' in part) return valuesAt(value, part.path).map(shown).join(' ');
  return valuesAt(value, part.range)
    .map((item) => part.parts.map((each) => textOf(each, item)).join(''))
    .join('');
}

function shown(value: unknown): string {
  return printable(typeof value === 'string' ? value : JSON.stringify(value));
}

function wrong(text: string, why: string, cause?: unknown): CliError {
  return new CliError(
    `-o: ${printable(text.slice(0, 64)) || 'nothing'}: ${why}`,
    'See what there is to choose from with -o json.',
    exit.usage,
    cause,
  );
}
