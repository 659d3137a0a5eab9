import { getHeapStatistics } from 'node:v8';
import type { FuzzedParser } from './fuzzed-parser.ts';

/** What a parser did with an input. */
export type Outcome =
  | { readonly kind: 'value' }
  | { readonly kind: 'refused'; readonly error: unknown }
  | { readonly kind: 'crash'; readonly error: unknown };

export async function outcomeOf({ parse, isDeclared }: FuzzedParser, bytes: Buffer): Promise<Outcome> {
  try {
    await parse(bytes);
    return { kind: 'value' };
  } catch (error) {
    return { kind: isDeclared(error) ? 'refused' : 'crash', error };
  }
}

/** Two outcomes that are the same are the same text: code and field, or where the error was thrown. */
export function outcomeText(outcome: Outcome): string {
  if (outcome.kind === 'value') return 'value';
  if (outcome.kind === 'crash') return `crash ${placeOf(outcome.error)}`;
  const { error } = outcome;
  const code = member(error, 'code') ?? 'refused';
  const field = member(error, 'field') ?? (error instanceof Error ? firstWords(error.message) : '');
  // Numbers, and names that the sender chose, would make each input one of its own.
  return `${code} ${field.replace(/\d+/g, '#').slice(0, 60)}`;
}

const firstWords = (text: string) => text.split(/[^A-Za-z]+/, 4).join(' ');

function member(error: unknown, name: 'code' | 'field'): string | null {
  if (typeof error !== 'object' || error === null) return null;
  const value: unknown = Reflect.get(error, name);
  return typeof value === 'string' ? value : null;
}

const root = new URL('../../', import.meta.url).href;

/** The error's name and the first place of our sources in its stack: by that two findings are one. */
function placeOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const frame = (error.stack ?? '')
    .split('\n')
    .find((line) => line.includes(root) && !line.includes('node_modules'));
  return `${error.name} at ${frame?.slice(frame.indexOf(root) + root.length).replace(/\)$/, '') ?? 'nowhere of ours'}`;
}

/** Milliseconds of this thread's processor, so that another one's work does not count. The quickest of three. */
export async function ownTime(run: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const before = process.threadCpuUsage();
    await run();
    const { user, system } = process.threadCpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

/** Bytes that this thread took since it began, and those outside of its heap that it holds: a difference is what a run took. */
export function taken(): number {
  const { total_allocated_bytes, external_memory } = getHeapStatistics();
  return total_allocated_bytes + external_memory;
}
