import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { type AuditEntry, type AuditEvent, genesis } from '../../../attest-server/formats/audit.ts';

const event: AuditEvent = {
  at: 1_700_000_000_000,
  actor: 'token:admin',
  action: 'enrol',
  subject: 'node-1',
  code: null,
  detail: { name: 'ü', 10: true, 9: 1.5 },
};

function chainOf(...events: readonly AuditEvent[]): AuditEntry[] {
  const entries: AuditEntry[] = [];
  for (const next of events)
    entries.push(chainEntry(entries.at(-1)?.hash ?? genesis, entries.length + 1, next));
  return entries;
}

describe('the audit chain', () => {
  it('hashes the documented bytes', () => {
    const bytes =
      `["assay/audit/1","${'0'.repeat(64)}",1,1700000000000,"token:admin","enrol","node-1",null,` +
      '{"10":true,"9":1.5,"name":"ü"}]';
    assert.deepEqual(chainEntry(genesis, 1, event), {
      ...event,
      seq: 1,
      prev: genesis,
      hash: hash('sha256', Buffer.from(bytes), 'hex'),
    });
  });

  it('is whole when it is empty, and can be checked page by page', () => {
    assert.deepEqual(verifyChain([]), { ok: true, size: 0, head: genesis });
    const entries = chainOf(event, event, event);
    const first = verifyChain(entries.slice(0, 2));
    assert.ok(first.ok);
    assert.deepEqual(verifyChain(entries.slice(2), first), { ok: true, size: 3, head: entries[2]?.hash });
  });

  it('names the first entry that is missing, doubled or out of place', () => {
    const [a, b, c] = chainOf(event, { ...event, at: 1 }, event);
    assert.ok(a && b && c);
    for (const [entries, seq] of [
      [[b, c], 1],
      [[a, c], 2],
      [[a, a, b], 2],
      [[b, a, c], 1],
    ] as const) {
      const check = verifyChain(entries);
      assert.equal(!check.ok && check.seq, seq);
    }
  });

  it('takes no number that has no one form', () => {
    assert.throws(() => chainEntry(genesis, 1, { ...event, detail: { figure: Number.NaN } }), TypeError);
    assert.throws(() => chainEntry(genesis, 1, { ...event, at: Number.POSITIVE_INFINITY }), TypeError);
  });

  it('calls an entry that cannot be hashed wrong, instead of failing', () => {
    const [entry] = chainOf(event);
    assert.ok(entry);
    const check = verifyChain([{ ...entry, at: Number.NaN }]);
    assert.equal(!check.ok && check.seq, 1);
  });
});
