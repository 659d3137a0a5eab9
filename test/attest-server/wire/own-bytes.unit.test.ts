import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { giveBackLong, ownBytes } from '../../../attest-server/wire/own-bytes.ts';

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

describe('what is given back', () => {
  it('is a long message in a buffer of its own, with its head, and nothing that shares one', () => {
    const frame = Buffer.allocUnsafeSlow(1 + 200 * 1024);
    const long = frame.subarray(1);
    const short = Buffer.allocUnsafeSlow(64 * 1024);
    const piece = Buffer.allocUnsafeSlow(512 * 1024);
    const [before, shared] = [piece.subarray(0, 200 * 1024), piece.subarray(200 * 1024)];
    for (const bytes of [long, short, before]) giveBackLong(bytes);
    assert.deepEqual([long.length, frame.length, short.length], [0, 0, 64 * 1024]);
    assert.deepEqual([before.length, shared.length], [200 * 1024, 312 * 1024]);
    // Whoever asks twice loses nothing else.
    giveBackLong(long);
  });
});
