import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { parseBundle } from '../../attest-server/protocol/bundle.ts';
import { reference } from '../../attest-server/protocol/reference.ts';
import type { Reason } from '../../attest-server/protocol/verdict.ts';
import { capturedAt, type Expected } from './vector.ts';

const folder = join(import.meta.dirname, '../../swtpm-fixtures/vectors');
const read = (...path: readonly string[]) => readFileSync(join(folder, ...path), 'utf8');
const vectors = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'references')
  .map(({ name }) => ({ name, expected: JSON.parse(read(name, 'expected.json')) as Expected }));

/** Rows of docs/attacks.md that a vector must make. */
const rows = [
  ...[48, 132, 133, 134],
  ...[26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45],
  ...[84, 99, 100, 103, 109, 113],
];

function judge({ name, expected }: (typeof vectors)[number], text = read(name, 'bundle.json')) {
  return verifyBundle(text, {
    policy: parsePolicy(read(name, 'policy.yaml'), 'policy.yaml'),
    references: [reference.parse(JSON.parse(read('references', expected.references, 'good.json')))],
    now: capturedAt,
  });
}

/** Most vectors are of machines that sent no list of IMA: that boot_aggregate is missing is told of each that is good. */
function isOnlyTold({ code, severity }: Pick<Reason, 'code' | 'severity'>): boolean {
  return code === 'facts_unavailable' && severity === 'info';
}

describe('a vector', () => {
  for (const vector of vectors)
    it(`${vector.name}: ${vector.expected.attack}`, () => {
      const { verdict, rejected } = judge(vector);
      // Whose TPM it is, a vector does not say: its policy asks for the boot alone.
      const { state, codes: wanted } = vector.expected;
      const codes = verdict.reasons.flatMap(({ code, severity }) =>
        code === 'identity_unproven' || (isOnlyTold({ code, severity }) && !wanted.includes(code))
          ? []
          : code,
      );
      assert.deepEqual([rejected, verdict.state], [false, state]);
      // A boot that is wrong in one thing may be wrong in what follows from it.
      if (state === 'untrusted') for (const code of wanted) assert.ok(codes.includes(code), codes.join());
      else assert.deepEqual(codes, wanted);
    });

  it('gives the same verdict in the form in which evidence is written now', () => {
    for (const vector of vectors) {
      const bundle = parseBundle(read(vector.name, 'bundle.json'));
      assert.equal(bundle.version, 2);
      assert.deepEqual(judge(vector, JSON.stringify(bundle)), judge(vector), vector.name);
    }
  });

  it('is written in both forms', () => {
    const versions = vectors.map(({ name }) => JSON.parse(read(name, 'bundle.json')).version);
    for (const version of [1, 2])
      assert.ok(versions.filter((one) => one === version).length > 1, `${version}`);
  });

  it('is there for each row', () => {
    const made = new Set(vectors.flatMap(({ expected }) => expected.rows));
    assert.deepEqual(
      rows.filter((row) => !made.has(row)),
      [],
    );
  });

  it('differs from the control in its evidence, where it expects something else', () => {
    const control = vectors.find(({ name }) => name === 'control');
    assert.deepEqual([control?.expected.state, vectors.length > rows.length], ['trusted', true]);
  });
});
