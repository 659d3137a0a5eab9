import { printable } from './printable.ts';

/** One thing that a doctor looked at, or could not: nothing that it did not see is `ok`. */
export interface Check {
  readonly name: string;
  readonly result: 'ok' | 'warning' | 'failed' | 'not looked at';
  /** For a person. */
  readonly text: string;
  /** A finished command; null for what is in order. */
  readonly next: string | null;
}

export function okay(name: string, text: string): Check {
  return { name, result: 'ok', text, next: null };
}

export function finding(
  name: string,
  result: Exclude<Check['result'], 'ok'>,
  text: string,
  next: string,
): Check {
  return { name, result, text, next };
}

/** A line each, below it what to type next; the last line counts them. */
export function checksText(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, result, text, next }) => {
    const [first = '', ...others] = text.split('\n');
    return [
      `${result.padEnd('not looked at'.length)}  ${name.padEnd(width)}  ${printable(first)}`,
      ...[...others, ...(next?.split('\n') ?? [])].map((line) => `  ${printable(line)}`),
    ];
  });
  return [...lines, countsOf(checks), ''].join('\n');
}

export function hasFailed(checks: readonly Check[]): boolean {
  return checks.length === 0 || checks.some(({ result }) => result === 'failed');
}

function countsOf(checks: readonly Check[]): string {
  const counts = (['ok', 'warning', 'failed', 'not looked at'] as const).flatMap((result) => {
    const count = checks.filter((check) => check.result === result).length;
    return count === 0 ? [] : [`${count} ${result}`];
  });
  return `${checks.length} checks: ${counts.join(', ')}`;
}
