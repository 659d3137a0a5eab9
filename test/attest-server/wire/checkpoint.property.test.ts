import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  formatCheckpoint,
  parseCheckpoint,
  verifyCheckpoint,
} from '../../../attest-server/wire/checkpoint.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { knownAuditKey } from '../formats/made-audit-key.ts';

const key = knownAuditKey();
const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((value) => Buffer.from(value).toString('hex'));
const checkpoints = fc.record(
  {
    origin: hex(16).map((id) => `assay/${id}`),
    size: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    head: hex(32),
  },
  { noNullPrototype: true },
);

describe('any checkpoint', () => {
  it('comes back as it was signed', () => {
    fc.assert(
      fc.property(checkpoints, (checkpoint) => {
        assert.deepEqual(verifyCheckpoint(formatCheckpoint(checkpoint, key), key.publicKey), checkpoint);
      }),
      { numRuns: 50 },
    );
  });

  it('does not verify with one character changed', () => {
    const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(checkpoints, place, fc.string({ minLength: 1, maxLength: 1 }), (checkpoint, at, letter) => {
        const note = formatCheckpoint(checkpoint, key);
        const index = Math.floor(at * note.length);
        fc.pre(note[index] !== letter);
        const changed = note.slice(0, index) + letter + note.slice(index + 1);
        assert.throws(() => verifyCheckpoint(changed, key.publicKey), Rejection);
      }),
    );
  });

  it('is the only text of its bytes: what parses is written the same way again', () => {
    fc.assert(
      fc.property(checkpoints, (checkpoint) => {
        const note = formatCheckpoint(checkpoint, key);
        const { body, keyId, signature, origin } = parseCheckpoint(note);
        const line = Buffer.concat([Buffer.from(keyId, 'hex'), signature]).toString('base64');
        assert.equal(`${body}\n\u2014 ${origin} ${line}\n`, note);
      }),
      { numRuns: 50 },
    );
  });
});

describe('the parser of checkpoints', () => {
  const anyText = fc.oneof(
    fc.string({ maxLength: 600, unit: 'binary' }),
    fc.tuple(checkpoints, fc.string(), fc.nat(400)).map(([checkpoint, text, at]) => {
      const note = formatCheckpoint(checkpoint, key);
      return note.slice(0, at) + text + note.slice(at);
    }),
  );
  it('gives a value or a Rejection for any text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        try {
          parseCheckpoint(text);
        } catch (error) {
          assert(error instanceof Rejection);
        }
      }),
    );
  });
});
