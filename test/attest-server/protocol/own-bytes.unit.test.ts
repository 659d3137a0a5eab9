import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { ownBytes } from '../../../attest-server/protocol/own-bytes.ts';

describe('bytes in memory of their own', () => {
  for (const text of ['', 'a part of a shared pool'])
    it(`are the same, and nothing else is kept with them (${text.length})`, () => {
      const shared = Buffer.from(`before${text}after`).subarray(6, 6 + text.length);
      const own = ownBytes(shared);
      assert.equal(own.toString(), text);
      assert.deepEqual([own.byteOffset, own.buffer.byteLength], [0, text.length]);
      shared.fill(0);
      assert.equal(own.toString(), text);
    });
});
