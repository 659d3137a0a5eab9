import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { reasonCodes } from '../attest-server/wire/reasons.ts';

const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const table = 'docs/attacks.md';

/** Each row of the table, and which files it links. */
const rows = new Map(
  read(table)
    .split('\n')
    .flatMap((line) => {
      const [, row = '', , answer = '', tests = '', vectors = ''] = line.split('|');
      return /^ \d+ $/.test(row)
        ? [[Number(row), { answer, tests: linksIn(tests), vectors: linksIn(vectors) }]]
        : [];
    }),
);

/** Where links lead, from the root of the repository. */
function linksIn(cell: string): readonly string[] {
  return [...cell.matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => join(dirname(table), link)).sort();
}

/** Attacks that a name of a test gives: `… (row 69)`, `… (rows 69, 73)` or `row 69: …`. */
const named = /\(rows? (\d+(?:(?:, | and )\d+)*)\)|(?<=['"`])rows? (\d+(?:(?:, | and )\d+)*): /g;
const byTests = new Map<number, Set<string>>();
for (const file of globSync('test/**/*.test.ts', { cwd: root }))
  if (join(root, file) !== import.meta.filename)
    for (const [, behind, before] of read(file).matchAll(named))
      for (const row of (behind ?? before ?? '').split(/\D+/)) note(byTests, Number(row), file);

const made = z.object({ rows: z.array(z.number()) });
const byVectors = new Map<number, Set<string>>();
for (const file of globSync('swtpm-fixtures/vectors/*/expected.json', { cwd: root }))
  for (const row of made.parse(JSON.parse(read(file))).rows) note(byVectors, row, dirname(file));

function note(made: Map<number, Set<string>>, row: number, file: string): void {
  made.set(row, (made.get(row) ?? new Set()).add(file));
}

describe('the table of attacks', () => {
  it('has a row for each attack that a test or vector makes, and no other, in order', () => {
    const all = [...new Set([...byTests.keys(), ...byVectors.keys()])].sort((a, b) => a - b);
    assert.deepEqual([...rows.keys()], all);
  });

  it('speaks of reason codes that there are', () => {
    const codes: readonly string[] = reasonCodes;
    const words = [...rows.values()].flatMap(
      ({ answer }) => answer.match(/(?<=`)[a-z]+(_[a-z]+)*(?=`)/g) ?? [],
    );
    assert.deepEqual(
      words.filter((word) => !codes.includes(word)),
      [],
    );
  });

  for (const [row, { tests, vectors }] of rows)
    it(`links all that makes attack ${row}, something of it over a real connection, in a real process or on real bytes`, () => {
      assert.deepEqual(tests, [...(byTests.get(row) ?? [])].sort());
      assert.deepEqual(vectors, [...(byVectors.get(row) ?? [])].sort());
      const real = tests.filter((file) => /\.(e2e|swtpm|vectors|long)\.test\.ts$/.test(file));
      assert.ok(real.length + vectors.length > 0, tests.join());
    });
});
