import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { printableJson } from '../../../attest-server/cli/printable.ts';
import { parsePins } from '../../../attest-server/formats/pin-file.ts';
import { printable } from '../../../attest-server/wire/printable.ts';

const anyText = fc.string({ unit: 'binary' });

describe('hostile input of the command line', () => {
  it('is printable on one line, whatever it is', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        assert.doesNotMatch(printable(text), /\p{Cc}|\p{Bidi_C}|\p{Zl}|\p{Zp}|\p{Cs}/u);
      }),
    );
  });

  it('means the same as printable JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), anyText, (value, text) => {
        const both = { value, text };
        assert.deepEqual(JSON.parse(printableJson(both)), JSON.parse(JSON.stringify(both)));
      }),
    );
  });

  it('gives a verdict that is never trusted, whatever stands in a bundle', () => {
    const base64 = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('base64'));
    const bundle = fc.record({
      version: fc.constant(1),
      attestationKey: base64,
      qualifyingData: fc.constantFrom('', '00'),
      quotes: fc.array(fc.record({ attest: base64, signature: base64, pcrs: fc.constant({}) }), {
        minLength: 1,
      }),
      bootLog: base64,
    });
    fc.assert(
      fc.property(
        fc.oneof(
          anyText,
          fc.json(),
          bundle.map((b) => JSON.stringify(b)),
        ),
        (text) => {
          const { verdict, rejected } = verifyBundle(text, { now: 0 });
          assert.deepEqual([rejected, verdict.state], [true, 'unknown']);
        },
      ),
    );
  });

  it('is a pin, or a fault that names its line, in an inventory', () => {
    const line = fc.oneof(anyText, fc.constant(`node-1,${'a'.repeat(64)}`));
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const text = lines.join('\n');
        const { pins, faults } = parsePins(text);
        const count = text.split(/\r?\n/).length;
        assert.ok(pins.length <= 1);
        assert.ok(pins.length + faults.length > 0);
        assert.ok(faults.every((fault) => fault.line >= 1 && fault.line <= count));
      }),
    );
  });
});
