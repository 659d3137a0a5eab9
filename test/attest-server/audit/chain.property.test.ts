import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { type AuditContent, type AuditEntry, genesis } from '../../../attest-server/formats/audit.ts';
import { trials } from '../../trials.ts';

const text = fc.string({ unit: 'binary' });
const number = fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true })).map((n) => n + 0);
const event: fc.Arbitrary<AuditContent> = fc.record({
  at: fc.nat(),
  actor: text,
  action: text,
  subject: text,
  code: fc.option(text),
  detail: fc.dictionary(text, fc.oneof(text, number, fc.boolean(), fc.constant(null)), {
    maxKeys: 4,
    noNullPrototype: true,
  }),
});
const chain = fc.array(event, { minLength: 1, maxLength: 6 }).map((events) => {
  const entries: AuditEntry[] = [];
  for (const next of events)
    entries.push(chainEntry(entries.at(-1)?.hash ?? genesis, entries.length + 1, next));
  return entries;
});
const hexDigest = fc.stringMatching(/^[0-9a-f]{64}$/);
const change: fc.Arbitrary<Partial<AuditEntry>> = fc.oneof(
  event.chain((other) =>
    fc.constantFrom<Partial<AuditEntry>>(
      { at: other.at },
      { actor: other.actor },
      { action: other.action },
      { subject: other.subject },
      { code: other.code },
      { detail: other.detail },
    ),
  ),
  fc.record({ seq: fc.nat(10) }),
  fc.record({ prev: hexDigest }),
  fc.record({ hash: hexDigest }),
);

describe('an audit chain of any events', () => {
  it('verifies, also after a way through JSON', () => {
    fc.assert(
      fc.property(chain, (entries) => {
        const head = entries.at(-1)?.hash;
        assert.deepEqual(verifyChain(entries), { ok: true, size: entries.length, head });
        const read: AuditEntry[] = JSON.parse(JSON.stringify(entries));
        assert.deepEqual(verifyChain(read), { ok: true, size: entries.length, head });
      }),
    );
  });

  it('shows any change of any field of any entry', () => {
    fc.assert(
      fc.property(chain, fc.nat(5), change, (entries, place, changed) => {
        const index = place % entries.length;
        const old = entries[index]!;
        const now: AuditEntry = { ...old, ...changed };
        fc.pre(!isDeepStrictEqual(now, old));
        const check = verifyChain(entries.with(index, now));
        assert.equal(check.ok, false);
        assert.ok(!check.ok && check.seq >= index + 1 && check.seq <= index + 2);
      }),
      { numRuns: trials(100) },
    );
  });

  it('shows an entry that was taken out, unless it was the last', () => {
    fc.assert(
      fc.property(chain, fc.nat(5), (entries, place) => {
        fc.pre(place < entries.length - 1);
        const check = verifyChain(entries.toSpliced(place, 1));
        assert.equal(!check.ok && check.seq, place + 1);
      }),
    );
  });
});
