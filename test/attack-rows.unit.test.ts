import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';

const root = join(import.meta.dirname, '..');

/**
 * Attacks of the threat list on identity, channel, books and server. A test that makes one ends its name with
 * `(row 69)` or `(rows 69, 73)`, so that whoever asks what stands against it finds it by a search.
 */
const rows = [
  ...[7, 8, 10, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 85, 86],
  ...[93, 95, 96, 104, 108, 114],
];

describe('the attacks on identity, channel, books and server', () => {
  const made = new Map<number, string[]>();
  for (const file of globSync('test/**/*.test.ts', { cwd: root }))
    for (const [, numbers = ''] of readFileSync(join(root, file), 'utf8').matchAll(
      /\(rows? ([\d, ]+)\)[`']/g,
    ))
      for (const number of numbers.split(',').map(Number))
        made.set(number, [...(made.get(number) ?? []), file]);

  for (const row of rows)
    it(`of row ${row} are made by a test over a real connection, in a real process or on real bytes`, () => {
      const files = made.get(row) ?? [];
      assert(
        files.some((file) => /\.(e2e|swtpm|vectors)\.test\.ts$/.test(file)),
        files.join(', '),
      );
    });
});
