import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { createRefusalBook } from '../../attest-server/refusals.ts';

const refusal = { code: 'sig_invalid', text: 'x', node: 'node-1', address: '127.0.0.1' } as const;

describe('the book of refusals', () => {
  it('holds the first refusal of a kind, leaves repetitions out, and counts them in the next entry', () => {
    const book = createRefusalBook();
    assert.equal(book(refusal, 0)?.code, 'sig_invalid');
    assert.equal(book(refusal, 1), null);
    assert.equal(book(refusal, 2), null);
    assert.equal(book(refusal, 10_000)?.detail.leftOut, 2);
    assert.equal(book(refusal, 20_000)?.detail.leftOut, 0);
  });

  it('holds another code and another name at once', () => {
    const book = createRefusalBook();
    book(refusal, 0);
    assert.equal(book({ ...refusal, code: 'nonce_stale' }, 1)?.code, 'nonce_stale');
    assert.equal(book({ ...refusal, node: 'node-2' }, 1)?.subject, 'node-2');
  });

  it('forgets the oldest of a flood of names, not the newest', () => {
    const book = createRefusalBook();
    for (let index = 0; index < 5_000; index += 1) book({ ...refusal, node: `n${index}` }, 0);
    assert.equal(book({ ...refusal, node: 'n4999' }, 1), null);
    assert.notEqual(book({ ...refusal, node: 'n0' }, 1), null);
  });
});
