import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Claims } from '../../../attest-server/enrolment/claims.ts';
import type { Candidate } from '../../../attest-server/enrolment/ports.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';

const refused = (node: string, ekDigest: string | null, code: ReasonCode, address = '10.0.0.1') => ({
  node,
  ekDigest,
  code,
  text: `refused as ${code}`,
  address,
});

const waiting = (node: string, ekDigest: string, attempts: number): Candidate => ({
  node,
  ekDigest,
  ekPublicArea: Buffer.alloc(0),
  certificateSubject: null,
  manufacturer: null,
  address: '10.0.0.9',
  firstSeen: 1,
  lastSeen: 50,
  attempts,
});

describe('who came under a name and was refused', () => {
  it('is counted by key and code, whoever came first in front', () => {
    const claims = new Claims();
    claims.note(refused('node-1', 'a', 'ek_untrusted_root'), true, 10);
    claims.note(refused('node-1', 'b', 'ak_mismatch', '10.0.0.2'), true, 20);
    claims.note(refused('node-1', 'a', 'ek_untrusted_root', '10.0.0.3'), true, 30);
    claims.note(refused('node-2', null, 'unsupported_tpm'), false, 40);
    const found = claims.byName([]);
    assert.deepEqual([...found.keys()], ['node-1', 'node-2']);
    assert.deepEqual(
      found
        .get('node-1')
        ?.map(({ ekDigest, code, attempts, firstSeen, lastSeen, address }) =>
          [ekDigest, code, attempts, firstSeen, lastSeen, address].join(' '),
        ),
      ['a ek_untrusted_root 2 10 30 10.0.0.3', 'b ak_mismatch 1 20 20 10.0.0.2'],
    );
  });

  it('is known of those that wait also from before the server started', () => {
    const claims = new Claims();
    claims.note(refused('node-1', 'a', 'ek_untrusted_root'), false, 100);
    const found = claims.byName([waiting('node-1', 'a', 7), waiting('node-1', 'b', 3)]).get('node-1');
    assert.deepEqual(
      found?.map(({ ekDigest, code, text, attempts, firstSeen }) => [
        ekDigest,
        code,
        text,
        attempts,
        firstSeen,
      ]),
      [
        ['a', 'ek_untrusted_root', 'refused as ek_untrusted_root', 7, 1],
        ['b', 'enrolment_pending', null, 3, 1],
      ],
    );
  });

  it('is forgotten once that TPM is the node', () => {
    const claims = new Claims();
    claims.note(refused('node-1', 'a', 'enrolment_pending'), false, 1);
    claims.note(refused('node-1', 'b', 'enrolment_pending'), false, 1);
    claims.forget('node-1', 'a');
    assert.deepEqual(
      claims
        .byName([])
        .get('node-1')
        ?.map(({ ekDigest }) => ekDigest),
      ['b'],
    );
  });

  it('stays the same size in a flood, and keeps the true cause under an enrolled name (row 126)', () => {
    const claims = new Claims();
    claims.note(refused('node-1', 'true', 'enrolment_pending', '10.9.9.9'), true, 1);
    // Under its name, by keys and codes without end, from one address and from many.
    for (let each = 0; each < 500; each += 1) {
      claims.note(refused('node-1', `forged-${each}`, 'ak_attributes', '10.0.0.7'), true, 2 + each);
      claims.note(refused('node-1', `many-${each}`, 'malformed', `10.1.${each % 256}.1`), true, 2 + each);
    }
    assert.equal(claims.byName([]).get('node-1')?.length, 16);
    assert.ok(
      claims
        .byName([])
        .get('node-1')
        ?.some(({ ekDigest }) => ekDigest === 'true'),
    );
    // Invented names have no part in the room of those that are enrolled.
    for (let each = 0; each < 5_000; each += 1)
      claims.note(
        refused(`made-${each}`, `made-${each}`, 'enrolment_pending', `10.2.${each % 256}.${each >> 8}`),
        false,
        1_000,
      );
    const found = claims.byName([]);
    assert.ok(found.get('node-1')?.some(({ ekDigest }) => ekDigest === 'true'));
    assert.equal([...found.values()].flat().length, 16 + 1024);
  });
});
