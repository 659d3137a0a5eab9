import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { createRefusalBook } from '../../../attest-server/audit/refusals.ts';

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

  it('holds what claims no name once an address, so that a flood from one hides no other', () => {
    const book = createRefusalBook();
    const nameless = { ...refusal, node: null };
    assert.deepEqual([book(nameless, 0)?.subject, book(nameless, 1)], ['', null]);
    assert.equal(book({ ...nameless, address: '127.0.0.2' }, 2)?.actor, 'address:127.0.0.2');
    assert.equal(book(nameless, 10_000)?.detail.leftOut, 1);
  });

  it('holds no more than so many of one address, whatever names it invents, and counts the rest', () => {
    const book = createRefusalBook();
    const entries = Array.from({ length: 1_000 }, (_, index) =>
      book({ ...refusal, node: `n${index}` }, index),
    );
    assert.equal(entries.filter((entry) => entry !== null).length, 256);
    assert.notEqual(book({ ...refusal, node: 'other', address: '127.0.0.2' }, 1_000), null);
    assert.equal(book({ ...refusal, node: 'later' }, 20_000)?.detail.leftOut, 744);
  });

  it('takes the addresses of one IPv6 network for one, as a single machine may have them all', () => {
    const book = createRefusalBook();
    const from = (index: number) => `2001:db8:0:1::${index.toString(16)}`;
    const named = Array.from({ length: 1_000 }, (_, index) =>
      book({ ...refusal, node: `n${index}`, address: from(index) }, index),
    );
    assert.equal(named.filter((entry) => entry !== null).length, 256);
    const nameless = { ...refusal, node: null };
    assert.equal(book({ ...nameless, address: from(1) }, 20_000)?.actor, 'address:2001:db8:0:1::1');
    assert.equal(book({ ...nameless, address: from(2) }, 20_001), null);
    assert.notEqual(book({ ...nameless, address: '2001:db8:0:2::1' }, 20_002), null);
    // A person is no address.
    for (const address of ['token:ann', 'token:bob'])
      assert.notEqual(book({ ...nameless, address }, 20_003), null);
  });

  it('forgets the oldest of a flood of names, not the newest', () => {
    const book = createRefusalBook();
    for (let index = 0; index < 5_000; index += 1)
      book({ ...refusal, node: `n${index}`, address: `10.0.0.${index % 250}` }, 0);
    assert.equal(book({ ...refusal, node: 'n4999' }, 1), null);
    assert.notEqual(book({ ...refusal, node: 'n0' }, 1), null);
  });
});
