import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseUserSpaceLog } from '../../../../attest-server/verify/tpm/user-space-log.ts';
import { rejectionOf } from '../rejection-of.ts';

const digest = { hashAlg: 'sha256', digest: hash('sha256', 'ready') };
const good = { pcr: 11, digests: [digest], content: { string: 'ready', eventType: 'phase' } };
const records = (...values: readonly unknown[]) =>
  Buffer.from(values.map((value) => `\x1e${JSON.stringify(value)}\n`).join(''));

describe("systemd's log of what user space measured", () => {
  it('may be empty', () =>
    assert.deepEqual(parseUserSpaceLog(Buffer.alloc(0)), { events: [], passedOver: 0 }));

  it('gives the events in their order, with what was recomputed', () => {
    const other = { ...good, pcr: 15, content: { string: 'other' } };
    const { events } = parseUserSpaceLog(records(good, other));
    assert.deepEqual(
      events.map(({ index, pcr, type, verified }) => [index, pcr, type, verified]),
      [
        [0, 11, 'phase', true],
        [1, 15, '', false],
      ],
    );
  });

  it('passes over records of NV indices, and digests of algorithms that we do not know', () => {
    const sm3 = { ...good, digests: [{ hashAlg: 'sm3_256', digest: 'ab' }, digest] };
    const log = parseUserSpaceLog(records({ ...good, pcr: undefined, nv_index: 30474243 }, sm3));
    assert.equal(log.passedOver, 1);
    assert.deepEqual(log.events[0]?.digests, { sha256: digest.digest });
  });

  it('takes no text as recomputed where all its digests are of algorithms that we do not know', () => {
    const { events } = parseUserSpaceLog(
      records({ ...good, digests: [{ hashAlg: 'sm3_256', digest: 'ab' }] }),
    );
    assert.equal(events[0]?.verified, false);
  });

  it('escapes what controls a terminal', () => {
    const { events } = parseUserSpaceLog(records({ ...good, content: { string: '\u001b[31m' } }));
    assert.equal(events[0]?.describes, '\\x1b[31m');
  });

  const bad: readonly (readonly [string, Buffer, string, string, number])[] = [
    ['bytes before the first record', Buffer.from('{}\n'), 'malformed', 'userspaceLog.record', 0],
    ['a record that is cut off', records(good).subarray(0, -1), 'malformed', 'userspaceLog.record', 0],
    ['a record that is not JSON', Buffer.from('\x1e{\n'), 'malformed', 'userspaceLog.record', 0],
    ['a record that is a list', records([good]), 'malformed', 'userspaceLog.record', 0],
    ['an empty record', Buffer.from('\x1e\n'), 'malformed', 'userspaceLog.record', 0],
    ['a PCR that does not exist', records({ ...good, pcr: 24 }), 'malformed', 'userspaceLog.pcr', 0],
    ['no digests', records({ ...good, digests: [] }), 'malformed', 'userspaceLog.digests', 0],
    [
      'a digest of the wrong size',
      records({ ...good, digests: [{ hashAlg: 'sha1', digest: 'ab' }] }),
      'malformed',
      'userspaceLog.digests',
      0,
    ],
    [
      'a digest twice',
      records(good, { ...good, digests: [digest, digest] }),
      'malformed',
      'userspaceLog.digests',
      records(good).length,
    ],
  ];
  for (const [what, log, code, field, offset] of bad)
    it(`is refused with ${what}`, () => {
      const rejection = rejectionOf(() => parseUserSpaceLog(log));
      assert.deepEqual([rejection?.code, rejection?.field, rejection?.offset], [code, field, offset]);
    });

  it('is refused with more bytes or records than any machine writes', () => {
    assert.equal(rejectionOf(() => parseUserSpaceLog(Buffer.alloc(64 * 1024 + 1)))?.code, 'too_large');
    const many = Buffer.from('\x1e{}\n'.repeat(2000));
    assert.equal(rejectionOf(() => parseUserSpaceLog(many))?.code, 'too_large');
  });

  it('of any bytes gives a log or a Rejection', () => {
    const text = fc.oneof(fc.json(), fc.constant(JSON.stringify(good)), fc.string());
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('\x1e', ''), text, fc.constantFrom('\n', ''))),
        (parts) => {
          rejectionOf(() => parseUserSpaceLog(Buffer.from(parts.flat().join(''))));
        },
      ),
    );
  });
});
