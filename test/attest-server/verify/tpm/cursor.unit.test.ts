import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Cursor } from '../../../../attest-server/verify/tpm/cursor.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';

const bytes = Buffer.from('0102030405060708090a0b0c0d0e0f', 'hex');

describe('Cursor', () => {
  it('reads big-endian numbers by default', () => {
    const cursor = new Cursor(bytes);
    assert.deepEqual([cursor.u8('a'), cursor.u16('b'), cursor.u32('c')], [1, 0x0203, 0x04050607]);
    assert.equal(cursor.u64('d'), 0x08090a0b0c0d0e0fn);
    cursor.end('d');
  });

  it('reads little-endian numbers on request', () => {
    const cursor = new Cursor(bytes, 'little');
    assert.deepEqual([cursor.u8('a'), cursor.u16('b'), cursor.u32('c')], [1, 0x0302, 0x07060504]);
    assert.equal(cursor.u64('d'), 0x0f0e0d0c0b0a0908n);
  });

  it('gives views and never copies', () => {
    const cursor = new Cursor(bytes);
    assert.equal(cursor.bytes(4, 'a').buffer, bytes.buffer);
    assert.equal(cursor.rest().length, 11);
    assert.equal(cursor.remaining, 0);
  });

  it('refuses to read past the end, naming the field and its offset, and does not move', () => {
    for (const read of [
      (c: Cursor) => c.u16('size'),
      (c: Cursor) => c.bytes(2, 'size'),
      (c: Cursor) => c.bytes(-1, 'size'),
      (c: Cursor) => c.bytes(0xffffffff, 'size'),
      (c: Cursor) => c.bytes(Number.NaN, 'size'),
    ]) {
      const cursor = new Cursor(bytes);
      cursor.bytes(14, 'head');
      assert.throws(
        () => read(cursor),
        (e) => e instanceof Rejection && e.code === 'malformed' && e.field === 'size' && e.offset === 14,
      );
      assert.equal(cursor.offset, 14);
    }
  });

  it('refuses a TPM2B whose length is inflated', () => {
    assert.throws(() => new Cursor(Buffer.from('ffff0102', 'hex')).sized('name'), { code: 'malformed' });
    assert.equal(new Cursor(Buffer.from('00020102', 'hex')).sized('name').toString('hex'), '0102');
  });

  it('refuses bytes left over at the end', () => {
    const cursor = new Cursor(bytes);
    cursor.bytes(14, 'body');
    assert.throws(() => cursor.end('body'), { code: 'malformed', field: 'body', offset: 14 });
  });
});
