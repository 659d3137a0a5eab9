import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { type Bundle, parseBundle, partsOf } from '../../../attest-server/formats/bundle.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { partNames } from '../../../attest-server/wire/evidence.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { trials } from '../../trials.ts';

const base64 = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('base64'));
const digest = fc.constantFrom('ab'.repeat(32), hash('sha256', ''), 'AB'.repeat(32), '');
const part = fc.record({ digest, bytes: base64 }, { requiredKeys: ['digest'] });
const quotes = fc.array(fc.record({ attest: base64, signature: base64, pcrs: fc.constant({}) }), {
  minLength: 1,
});
const anything = fc.jsonValue();

/** Nearly evidence: each member is as it should be, or anything. */
const nearly = fc
  .record(
    {
      version: fc.constantFrom(1, 2, 3),
      attestationKey: base64,
      qualifyingData: fc.constantFrom('', '00', 'zz'),
      binding: fc.oneof(
        fc.record({
          nonce: digest,
          channel: digest,
          facts: digest,
          bootLog: digest,
          keyRequest: fc.constant(''),
        }),
        anything,
      ),
      quotes: fc.oneof(quotes, anything),
      facts: fc.oneof(fc.json(), fc.string()),
      parts: fc.oneof(fc.dictionary(fc.constantFrom(...partNames, 'other', '__proto__'), part), anything),
      bootLog: base64,
      userspaceLog: base64,
      imaLog: base64,
      previous: fc.oneof(
        fc.record({ resetCount: fc.nat(), restartCount: fc.nat(), clock: fc.nat() }),
        anything,
      ),
      context: fc.oneof(
        fc.record({ at: fc.constant('2026-01-01T00:00:00Z'), sentParts: anything, memory: anything }),
        anything,
      ),
    },
    { requiredKeys: ['version', 'attestationKey', 'quotes'] },
  )
  .map((value) => JSON.stringify(value));

/** Null where it is rejected; any other error is the parser's own. */
function parsed(text: string): Bundle | null {
  try {
    return parseBundle(text);
  } catch (error) {
    assert(error instanceof Rejection, String(error));
    assert.equal(error.code, 'malformed');
    return null;
  }
}

describe('evidence as a file', () => {
  it('is a document of the newest version or a Rejection, whatever JSON it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), nearly), (text) => {
        const bundle = parsed(text);
        if (bundle === null) return;
        assert.equal(bundle.version, 2);
        for (const { digest, bytes } of Object.values(partsOf(bundle)))
          if (bytes !== null) assert.equal(hash('sha256', bytes), digest);
        // What it becomes is read as what it is.
        assert.deepEqual(parseBundle(JSON.stringify(bundle)), JSON.parse(JSON.stringify(bundle)));
      }),
      { numRuns: trials(50) },
    );
  });

  it('proves nothing where nobody signed it', () => {
    fc.assert(
      fc.property(nearly, (text) => {
        const bundle = parsed(text);
        if (bundle !== null) assert.throws(() => verifyBundleEvidence(bundle, null), Rejection);
      }),
    );
  });

  it('is refused in bounded time, however deep it is', () => {
    const deep = (inside: string) => `${inside.repeat(100_000)}`;
    for (const text of [deep('['), `{"version":2,"parts":${deep('{"boot":')}`])
      assert.equal(parsed(text), null);
    const memory = `${'['.repeat(5_000)}${']'.repeat(5_000)}`;
    const text = `{"version":2,"attestationKey":"","qualifyingData":"","quotes":[{"attest":"","signature":"","pcrs":{}}],"parts":{},"context":{"at":"2026-01-01T00:00:00Z","memory":{"disk":${memory}}}}`;
    assert.notEqual(parsed(text), null);
  });
});
