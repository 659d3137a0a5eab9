import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { z } from 'zod';
import { encodeFrame, FrameError, FrameReader } from '../../../agent/tpm-broker/frames.ts';
import { parseRequest } from '../../../agent/tpm-broker/requests.ts';
import { trials } from '../../trials.ts';

describe('the frames of the TPM broker', () => {
  it('come out as they went in, wherever the stream is cut', () => {
    const frames = fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 });
    fc.assert(
      fc.property(frames, fc.integer({ min: 1, max: 40 }), (payloads, step) => {
        const stream = Buffer.concat(payloads.map((payload) => encodeFrame('json', payload)));
        const reader = new FrameReader({ json: 64 });
        const found: Buffer[] = [];
        for (let at = 0; at < stream.length; at += step) {
          reader.push(Buffer.from(stream.subarray(at, at + step)));
          for (let frame = reader.next(); frame !== null; frame = reader.next()) found.push(frame.payload);
        }
        assert.deepEqual(
          found,
          payloads.map((payload) => Buffer.from(payload)),
        );
      }),
    );
  });

  it('are of any bytes a frame, nothing yet, or an error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const reader = new FrameReader({ json: 32, secret: 8 });
        reader.push(Buffer.from(bytes));
        try {
          for (let frame = reader.next(); frame !== null; frame = reader.next())
            assert(frame.payload.length <= (frame.kind === 'json' ? 32 : 8));
        } catch (error) {
          assert(error instanceof FrameError);
        }
      }),
    );
  });
});

describe('a request to the TPM broker', () => {
  it('is of any bytes a request or bad_input, which repeats nothing of it', () => {
    const known = fc.record(
      {
        verb: fc.oneof(fc.constantFrom('quote', 'readPCRs', 'activate', 'readPublic'), fc.string()),
        qualifyingData: fc.oneof(fc.base64String(), fc.anything()),
        selection: fc.oneof(
          fc.dictionary(fc.constantFrom('sha1', 'sha256', '__proto__'), fc.array(fc.integer())),
          fc.anything(),
        ),
        credential: fc.oneof(fc.base64String(), fc.anything()),
        secret: fc.oneof(fc.base64String(), fc.anything()),
      },
      { requiredKeys: ['verb'] },
    );
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((given) => Buffer.from(given)),
      fc.json().map((text) => Buffer.from(text)),
      known.map((value) => Buffer.from(jsonOf(value))),
    );
    fc.assert(
      fc.property(bytes, (payload) => {
        try {
          const request = parseRequest(payload);
          if (request.verb === 'quote')
            assert(request.qualifyingData.length >= 32 && request.qualifyingData.length <= 64);
        } catch (error) {
          assert(error instanceof ToolError && error.code === 'bad_input');
          assert(error.message.length < 120);
        }
      }),
      { numRuns: trials(100) },
    );
  });

  it('is taken where a schema says so, and then has the bytes and numbers that it says', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 140 }).map((given) => Buffer.from(given).toString('base64')),
      fc.constantFrom('AA=', 'A===', 'AA==AA==', '-_-_', ' AAA', 'AAAA\n'),
      fc.constantFrom(1024, 1025, 132, 133, 64, 65, 31, 32, 2, 3).map((length) => 'A'.repeat(length)),
      fc.constantFrom(null, 3, ['AAAA'], {}),
    );
    const numbers = fc.oneof(
      fc.array(fc.integer({ min: 0, max: 23 }), { maxLength: 26 }),
      fc.array(fc.constantFrom(-1, 0, 23, 24, 1.5, 1e300, '1', null, [1])),
      fc.constantFrom(null, 'sha256', {}, 7),
    );
    const selection = fc.oneof(
      fc.dictionary(fc.constantFrom('sha1', 'sha256', 'sha384', 'sha512'), numbers, { maxKeys: 2 }),
      fc.constantFrom(null, [], [[1]], {}, 'sha256', { sha3: [1] }, { ['__proto__']: [1], sha1: [1] }),
    );
    const verb = fc.oneof(
      fc.constantFrom(...verbs),
      fc.constantFrom('constructor', '__proto__', 'Quote', null, ['quote']),
    );
    const ofVerb = verb.chain((name) =>
      fc.record({
        verb: fc.constant(name),
        ...(name === 'quote' && { qualifyingData: bytes }),
        ...((name === 'quote' || name === 'readPCRs') && { selection }),
        ...(name === 'activate' && { credential: bytes, secret: bytes }),
      }),
    );
    const any = fc.record({ verb, qualifyingData: bytes, selection, credential: bytes, other: bytes });
    let taken = 0;
    fc.assert(
      fc.property(fc.oneof({ weight: 9, arbitrary: ofVerb }, any), (value) => {
        const payload = Buffer.from(JSON.stringify(value));
        const expected = schema.safeParse(JSON.parse(payload.toString()));
        if (!expected.success) return assert.throws(() => parseRequest(payload), ToolError);
        assert.deepEqual(parseRequest(payload), expected.data);
        taken++;
      }),
      { numRuns: trials(2_000) },
    );
    assert.ok(taken > 200, `${taken} were taken`);
  });
});

const verbs = ['quote', 'readPCRs', 'readPublic', 'readCertificates', 'activate'] as const;

const ofBytes = (least: number, most: number) =>
  z
    .string()
    .max(4 * Math.ceil(most / 3))
    .regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/)
    .transform((text) => Buffer.from(text, 'base64'))
    .refine(({ length }) => length >= least && length <= most);
const ofBank = z.array(z.int().min(0).max(23)).min(1).max(24).optional();
const ofBanks = z
  .strictObject({ sha1: ofBank, sha256: ofBank, sha384: ofBank, sha512: ofBank })
  .refine((chosen) => Object.keys(chosen).length > 0);
/** A request as docs/privileges.md has it. */
const schema = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('quote'), qualifyingData: ofBytes(32, 64), selection: ofBanks }),
  z.strictObject({ verb: z.literal('readPCRs'), selection: ofBanks }),
  z.strictObject({ verb: z.literal('readPublic') }),
  z.strictObject({ verb: z.literal('readCertificates') }),
  z.strictObject({ verb: z.literal('activate'), credential: ofBytes(3, 132), secret: ofBytes(3, 1024) }),
]);

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return 'null';
  }
}
