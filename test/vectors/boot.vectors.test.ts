import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { describe, it } from 'mocha';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import { parseBundle } from '../../attest-server/formats/bundle.ts';
import { reference } from '../../attest-server/formats/reference.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { parseQuote } from '../../attest-server/verify/tpm/attest.ts';
import { type ReasonCode, reasonCodes } from '../../attest-server/wire/reasons.ts';
import type { Reason } from '../../attest-server/wire/verdict.ts';
import { evidenceOf, firstBoot } from './evidence.ts';
import { ran } from './runtime-attacks.ts';
import { baseLog, capturedAt, type Expected } from './vector.ts';

const folder = join(import.meta.dirname, '../../swtpm-fixtures/vectors');
const read = (...path: readonly string[]) => readFileSync(join(folder, ...path), 'utf8');
const vectors = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'references')
  .map(({ name }) => ({ name, expected: JSON.parse(read(name, 'expected.json')) as Expected }));

/** Rows of docs/attacks.md that a vector must make. */
const rows = [
  ...[43, 46, 47, 48, 49, 110, 132, 133, 134],
  ...[26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45],
  ...[84, 99, 100, 103, 109, 113, 116, 135, 136, 137, 138, 139, 140, 141],
];

function referencesIn(name: string) {
  const files = readdirSync(join(folder, 'references', name)).sort();
  return files.map((file) => reference.parse(JSON.parse(read('references', name, file))));
}

function judge({ name, expected }: (typeof vectors)[number], text = read(name, 'bundle.json')) {
  return verifyBundle(text, {
    policy: parsePolicy(read(name, 'policy.yaml'), 'policy.yaml'),
    references: referencesIn(expected.references),
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
      const codes = verdict.reasons.flatMap(({ code, severity }): ReasonCode | readonly ReasonCode[] =>
        code === 'identity_unproven' || (isOnlyTold({ code, severity }) && !wanted.includes(code))
          ? []
          : code,
      );
      // What is no evidence at all is not judged.
      assert.deepEqual([rejected, verdict.state], [state === 'unknown', state]);
      // A boot that is wrong in one thing may be wrong in what follows from it.
      if (state === 'untrusted') {
        assert.equal(codes[0], wanted[0]);
        for (const code of wanted) assert.ok(codes.includes(code), codes.join());
      }
      if (state !== 'untrusted') assert.deepEqual(codes, wanted);
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

  it('is there for each code that speaks of what ran', () => {
    const named = new Set(vectors.flatMap(({ expected }) => expected.codes));
    assert.deepEqual(
      reasonCodes.filter((code) => code.startsWith('ima_') && !named.has(code)),
      [],
    );
  });

  it('differs from the control in its evidence, where it expects something else', () => {
    const alike = vectors.filter(({ name, expected: { references, state, codes } }) => {
      const isOther = state !== 'trusted' || codes.length > 0;
      return isOther && isDeepStrictEqual(shownBy(read(name, 'bundle.json')), honest(references));
    });
    // The same boot, under a policy that refuses the version of its firmware.
    assert.deepEqual(
      alike.map(({ name }) => name),
      ['30-firmware-denied'],
    );
    assert.deepEqual(shownBy(read('control', 'bundle.json')), honest('debian13-shim-grub'));
  });
});

/** What a bundle shows of a boot: all but what differs with each key and nonce. */
function shownBy(text: string) {
  const { quotes, facts, parts, previous, context } = parseBundle(text);
  const signed = quotes.map(({ attest, pcrs }) => {
    const { clock, firmwareVersion } = parseQuote(Buffer.from(attest, 'base64'));
    return { clock, firmwareVersion, pcrs };
  });
  return { signed, facts, parts, previous, sentParts: context?.sentParts };
}

/** The same of the boot that was vouched for. */
function honest(references: string) {
  const previous = { resetCount: 7, restartCount: 1, clock: '1000000000', bootId: firstBoot };
  const ima = references === 'runtime' ? { shown: ran } : undefined;
  return shownBy(JSON.stringify(evidenceOf({ log: baseLog(references), previous, ...(ima && { ima }) })));
}
