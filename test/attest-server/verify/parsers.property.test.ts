import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { checkEndorsement } from '../../../attest-server/verify/endorsement.ts';
import { parseQuote } from '../../../attest-server/verify/tpm/attest.ts';
import { Cursor } from '../../../attest-server/verify/tpm/cursor.ts';
import { parsePublicArea } from '../../../attest-server/verify/tpm/public-area.ts';
import { parseSignature } from '../../../attest-server/verify/tpm/signature.ts';
import { verify } from '../../../attest-server/verify/verify.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { trials } from '../../trials.ts';
import { akOf, madeQuote } from './made-quote.ts';
import { ekAttributes, madeArea, softwareKey } from './software-key.ts';

const keys = [softwareKey('rsa2048'), softwareKey('p256'), softwareKey('p384')];
const quotes = keys.map((key) => madeQuote(key, Buffer.alloc(32, 5)));
const endorsement = madeArea('rsa2048', keys[0]!.publicKey, {
  attributes: ekAttributes,
  scheme: 0x0010,
  symmetric: '000600800043',
});

/** Any bytes, and valid structures that were cut, continued, or changed in some places. */
function bytesLike(valid: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const mutated = fc
    .tuple(
      fc.constantFrom(...valid),
      fc.array(fc.tuple(fc.nat(4095), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
      fc.option(fc.nat(600)),
      fc.uint8Array({ maxLength: 3 }),
    )
    .map(([original, changes, cut, tail]) => {
      const bytes = Buffer.concat([original.subarray(0, cut ?? original.length), tail]);
      for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
      return bytes;
    });
  return fc.oneof(
    mutated,
    fc.uint8Array({ maxLength: 512 }).map((bytes) => Buffer.from(bytes)),
  );
}

function valueOrRejection(parse: (bytes: Buffer) => unknown, valid: readonly Buffer[]): void {
  fc.assert(
    fc.property(bytesLike(valid), (bytes) => {
      try {
        parse(bytes);
      } catch (error) {
        assert.ok(error instanceof Rejection, `${error}`);
      }
    }),
    { numRuns: trials(200) },
  );
}

describe('any bytes give a value or a Rejection', () => {
  it('Cursor, whatever is read in whatever order', () => {
    const reads: Readonly<Record<string, (cursor: Cursor, count: number) => unknown>> = {
      u8: (cursor) => cursor.u8('field'),
      u16: (cursor) => cursor.u16('field'),
      u32: (cursor) => cursor.u32('field'),
      u64: (cursor) => cursor.u64('field'),
      sized: (cursor) => cursor.sized('field'),
      rest: (cursor) => cursor.rest(),
      bytes: (cursor, count) => cursor.bytes(count, 'field'),
      skip: (cursor, count) => cursor.skip(count, 'field'),
    };
    const step = fc.tuple(fc.constantFrom(...Object.values(reads)), fc.integer());
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), fc.array(step), (input, little, steps) => {
        const cursor = new Cursor(Buffer.from(input), little ? 'little' : 'big');
        for (const [read, count] of steps) {
          const before = cursor.offset;
          try {
            read(cursor, count);
          } catch (error) {
            assert.ok(error instanceof Rejection);
            assert.equal(error.code, 'malformed');
          }
          assert.ok(cursor.offset >= before && cursor.offset <= input.length);
        }
      }),
    );
  });

  it('parseQuote', () => {
    valueOrRejection(
      parseQuote,
      quotes.map(({ attest }) => attest),
    );
  });

  it('parsePublicArea and checkAttestationKey', () => {
    const areas = keys.map(({ publicArea }) => publicArea);
    valueOrRejection(parsePublicArea, areas);
    valueOrRejection(checkAttestationKey, areas);
  });

  it('parseSignature', () => {
    for (const [index, key] of keys.entries())
      valueOrRejection((bytes) => parseSignature(bytes, akOf(key)), [quotes[index]!.signature]);
  });

  it('checkEndorsement', () => {
    const empty = Buffer.from('3003a00100', 'hex');
    valueOrRejection(
      (bytes) => checkEndorsement({ publicArea: bytes, certificate: null, chain: [] }),
      [endorsement],
    );
    valueOrRejection(
      (certificate) => checkEndorsement({ publicArea: endorsement, certificate, chain: [certificate] }),
      [empty],
    );
  });

  it('verify, and changed bytes never prove anything', () => {
    for (const [index, key] of keys.entries()) {
      const quote = quotes[index]!;
      const expected = {
        ak: akOf(key),
        ekDigest: null,
        judgeHierarchy: true,
        binding: { qualifyingData: '05'.repeat(32) },
        selection: null,
      };
      valueOrRejection(
        (attest) => {
          verify({ quotes: [{ ...quote, attest }], facts: null, parts: {} }, expected);
          assert.ok(attest.equals(quote.attest));
        },
        [quote.attest],
      );
    }
  });
});
