import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { encodeFrame, FrameError, FrameReader } from '../../../agent/tpm-broker/frames.ts';
import { parseRequest } from '../../../agent/tpm-broker/messages.ts';
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
});

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return 'null';
  }
}
