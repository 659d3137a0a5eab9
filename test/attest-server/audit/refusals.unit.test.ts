import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { createRefusalLog } from '../../../attest-server/audit/refusals.ts';

const refusal = { code: 'sig_invalid', text: 'x', node: 'node-1', address: '127.0.0.1' } as const;

describe('the log of refusals', () => {
  it('holds the first refusal of a kind, leaves repetitions out, and counts them in the next entry', () => {
    const log = createRefusalLog();
    assert.equal(log(refusal, 0)?.code, 'sig_invalid');
    assert.equal(log(refusal, 1), null);
    assert.equal(log(refusal, 2), null);
    assert.equal(log(refusal, 10_000)?.detail.leftOut, 2);
    assert.equal(log(refusal, 20_000)?.detail.leftOut, 0);
  });

  it('holds another code and another name at once', () => {
    const log = createRefusalLog();
    log(refusal, 0);
    assert.equal(log({ ...refusal, code: 'nonce_stale' }, 1)?.code, 'nonce_stale');
    assert.equal(log({ ...refusal, node: 'node-2' }, 1)?.subject, 'node-2');
  });

  it('holds what claims no name once an address, so that a flood from one hides no other', () => {
    const log = createRefusalLog();
    const nameless = { ...refusal, node: null };
    assert.deepEqual([log(nameless, 0)?.subject, log(nameless, 1)], ['', null]);
    assert.equal(log({ ...nameless, address: '127.0.0.2' }, 2)?.actor, 'address:127.0.0.2');
    assert.equal(log(nameless, 10_000)?.detail.leftOut, 1);
  });

  it('holds no more than so many of one address, whatever names it invents, and counts the rest', () => {
    const log = createRefusalLog();
    const entries = Array.from({ length: 1_000 }, (_, index) =>
      log({ ...refusal, node: `n${index}` }, index),
    );
    assert.equal(entries.filter((entry) => entry !== null).length, 256);
    assert.notEqual(log({ ...refusal, node: 'other', address: '127.0.0.2' }, 1_000), null);
    assert.equal(log({ ...refusal, node: 'later' }, 20_000)?.detail.leftOut, 744);
  });

  it('takes the addresses of one IPv6 network for one, as a single machine may have them all', () => {
    const log = createRefusalLog();
    const from = (index: number) => `2001:db8:0:1::${index.toString(16)}`;
    const named = Array.from({ length: 1_000 }, (_, index) =>
      log({ ...refusal, node: `n${index}`, address: from(index) }, index),
    );
    assert.equal(named.filter((entry) => entry !== null).length, 256);
    const nameless = { ...refusal, node: null };
    assert.equal(log({ ...nameless, address: from(1) }, 20_000)?.actor, 'address:2001:db8:0:1::1');
    assert.equal(log({ ...nameless, address: from(2) }, 20_001), null);
    assert.notEqual(log({ ...nameless, address: '2001:db8:0:2::1' }, 20_002), null);
    // A person is no address.
    for (const address of ['token:ann', 'token:bob'])
      assert.notEqual(log({ ...nameless, address }, 20_003), null);
  });

  it('forgets the oldest of a flood of names, not the newest', () => {
    const log = createRefusalLog();
    for (let index = 0; index < 5_000; index += 1)
      log({ ...refusal, node: `n${index}`, address: `10.0.0.${index % 250}` }, 0);
    assert.equal(log({ ...refusal, node: 'n4999' }, 1), null);
    assert.notEqual(log({ ...refusal, node: 'n0' }, 1), null);
  });
});
