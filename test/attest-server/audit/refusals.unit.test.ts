import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type AuditRefusal, createRefusalLog } from '../../../attest-server/audit/refusals.ts';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';

const refusal: AuditRefusal = {
  code: 'sig_invalid',
  text: 'x',
  node: 'node-1',
  isEnrolled: true,
  address: '127.0.0.1',
  isProven: false,
};
const second = 1000;
const day = 24 * 3600 * second;

describe('the log of refusals', () => {
  it('holds the first refusal of a kind, leaves repetitions out, and counts them in the next entry', () => {
    const { entryOf } = opened();
    assert.equal(entryOf(refusal, 0)?.code, 'sig_invalid');
    assert.equal(entryOf(refusal, 1), null);
    assert.equal(entryOf(refusal, 2), null);
    assert.equal(entryOf(refusal, 10 * second)?.detail.leftOut, 2);
  });

  it('waits twice as long before each next entry of a kind that goes on, an hour at most', () => {
    const { entryOf } = opened();
    const at = times(day, second).filter((now) => entryOf(refusal, now) !== null);
    assert.deepEqual(at.slice(0, 4), [0, 10 * second, 30 * second, 70 * second]);
    assert.equal(at.length, 32);
    const log = opened();
    log.entryOf(refusal, 0);
    log.entryOf(refusal, 10 * second);
    assert.notEqual(log.entryOf(refusal, day), null);
    assert.notEqual(log.entryOf(refusal, day + 10 * second), null);
  });

  it('holds another code and the name of another node at once', () => {
    const { entryOf } = opened();
    entryOf(refusal, 0);
    assert.equal(entryOf({ ...refusal, code: 'nonce_stale' }, 1)?.code, 'nonce_stale');
    assert.equal(entryOf({ ...refusal, node: 'node-2' }, 1)?.subject, 'node-2');
  });

  it('holds two refusals of one code and name where they come from two addresses, behind noise too (row 129)', () => {
    const { entryOf } = opened();
    assert.equal(entryOf(refusal, 0)?.actor, 'address:127.0.0.1');
    for (const now of times(3600 * second, 100))
      for (const node of ['node-1', `n${now}`])
        entryOf({ ...refusal, node, isEnrolled: node === 'node-1', address: '192.0.2.1' }, now);
    assert.equal(entryOf({ ...refusal, address: '127.0.0.2' }, 3600 * second)?.actor, 'address:127.0.0.2');
  });

  it('counts names that nobody enrolled by their source, and holds some of them (row 120)', () => {
    const { entryOf } = opened();
    const from = (address: string, name: number) => ({
      ...refusal,
      isEnrolled: false,
      node: `n${name}`,
      address,
    });
    const first = times(1000, 1).map((name) => entryOf(from('127.0.0.1', name), name));
    assert.deepEqual(
      first.flatMap((event) => event?.subject ?? []),
      times(8, 1).map((name) => `n${name}`),
    );
    assert.equal(entryOf(from('127.0.0.1', 3), 5 * second), null);
    assert.equal(entryOf(from('127.0.0.1', 7), 10 * second)?.detail.leftOut, 993);
    assert.notEqual(entryOf(from('127.0.0.2', 7), 1), null);
  });

  it('takes the addresses of one IPv6 network for one, as a single machine may have them all', () => {
    const { entryOf } = opened();
    const from = (address: string) => ({ ...refusal, node: null, isEnrolled: false, address });
    assert.equal(entryOf(from('2001:db8:0:1::1'), 0)?.actor, 'address:2001:db8:0:1::1');
    assert.equal(entryOf(from('2001:db8:0:1::2'), 1), null);
    assert.notEqual(entryOf(from('2001:db8:0:2::1'), 2), null);
    // A person is no address.
    for (const address of ['token:ann', 'token:bob']) assert.notEqual(entryOf(from(address), 3), null);
  });

  it('keeps of what somebody says 256 printable characters (row 119)', () => {
    const { entryOf } = opened();
    for (const text of ['x'.repeat(240_000), '\u001b[31m'.repeat(60_000), '\u{1f600}'.repeat(60_000)]) {
      const said = entryOf({ ...refusal, text, address: `${text.length}` }, 0)?.detail.text;
      assert(typeof said === 'string' && said.length <= 256, String(said));
      assert.match(said, /^[^\p{Cc}\p{Cs}]+…$/u);
    }
  });

  it('counts once an hour all that have no entry, by code', () => {
    const { log, entryOf } = opened();
    assert.equal(log.count(0), null);
    for (const now of times(5, 1)) entryOf(refusal, now);
    for (const now of times(3, 1)) entryOf({ ...refusal, code: 'malformed' }, now);
    const counted = log.count(3600 * second) ?? assert.fail();
    assert.deepEqual(
      [counted.action, counted.actor, counted.detail],
      ['refuse.count', 'server', { since: 0, sig_invalid: 4, malformed: 2 }],
    );
    assert.equal(log.count(7200 * second), null);
  });

  it('loses no refusal: each has an entry or is counted', () => {
    const { log, entryOf } = opened();
    let entries = 0;
    for (const [now, each] of attack(3600 * second, 200)) if (entryOf(each, now) !== null) entries += 1;
    const { since, ...codes } = log.count(3600 * second)?.detail ?? {};
    const counted = Object.values(codes).reduce((sum: number, count) => sum + Number(count), 0);
    assert.equal(entries + counted, 18_000);
  });

  it('says one a second of those that have no room, so that no number of sources fills the log of the server (row 120)', () => {
    const { log } = opened();
    const said = [...attack(3600 * second, 20)].filter(([now, each]) => {
      const { event, isRepeated } = log.note(each, now);
      return event === null && !isRepeated;
    });
    assert.ok(said.length > 3000 && said.length <= 3600 + 128, String(said.length));
  });

  it('does not let strangers who exhaust their share hide a node that had proven itself', () => {
    const { entryOf } = opened();
    for (const [now, each] of attack(3600 * second, 200)) entryOf(each, now);
    assert.equal(entryOf({ ...refusal, address: '198.51.100.7' }, 3600 * second), null);
    assert.notEqual(entryOf({ ...refusal, node: 'node-7', isProven: true }, 3600 * second), null);
  });

  it('does not let invented names use up the share of those that are enrolled', () => {
    const { entryOf } = opened();
    for (const [now, each] of attack(3600 * second, 200)) entryOf({ ...each, isEnrolled: false }, now);
    assert.notEqual(entryOf({ ...refusal, address: '198.51.100.7' }, 3600 * second), null);
  });
});

function opened() {
  const log = createRefusalLog(0);
  const entryOf = (each: AuditRefusal, at: number): AuditEvent | null => log.note(each, at).event;
  return { log, entryOf };
}

function times(span: number, step: number): readonly number[] {
  return Array.from({ length: Math.ceil(span / step) }, (_, index) => index * step);
}

/** Refusals of many codes, of invented and of true names, each from another source. */
function* attack(span: number, step: number): Generator<readonly [number, AuditRefusal]> {
  for (const now of times(span, step)) {
    const code = reasonCodes[now % 40] ?? 'malformed';
    const isEnrolled = now % (2 * step) === 0;
    const node = isEnrolled ? `node-${now % 1000}` : `invented-${now}`;
    yield [
      now,
      {
        code,
        text: 'no such key',
        node,
        isEnrolled,
        address: `10.${now % 251}.${now % 241}.9`,
        isProven: false,
      },
    ];
  }
}
