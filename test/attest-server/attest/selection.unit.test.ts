import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { questionFor } from '../../../attest-server/attest/selection.ts';
import { aspects } from '../../../attest-server/policy/aspects.ts';
import type { PartName } from '../../../attest-server/wire/evidence.ts';
import type { SupplementPlace } from '../../../attest-server/wire/supplements.ts';

const anew = { ima: { of: [], from: 0, bootId: null } };
const upTo = (count: number) => Array.from({ length: count }, (_, pcr) => pcr);

describe('what a node is asked for', () => {
  it('is every PCR of each of its strong banks: a reference may name any', () => {
    assert.deepEqual(questionFor(['sha1', 'sha256'], {}).selection, { sha256: upTo(24) });
    assert.deepEqual(questionFor(['sha512', 'sha384', 'sha256'], {}).selection, {
      sha256: upTo(24),
      sha384: upTo(24),
      sha512: upTo(24),
    });
    assert.deepEqual(questionFor(['sha1', 'sha384'], {}).selection, { sha384: upTo(24) });
  });

  it('is SHA-1 where there is nothing better, so that the answer says so', () => {
    assert.deepEqual(questionFor(['sha1'], {}).selection, { sha1: upTo(24) });
    assert.deepEqual(questionFor([], {}).selection, { sha1: upTo(24) });
  });

  it('is each part that an aspect reads', () => {
    const { parts } = questionFor(['sha256'], {}, [], [], anew);
    assert.deepEqual(new Set(parts), new Set(aspects.flatMap((aspect) => aspect.parts)));
    // A boot is read first: it is what the other parts hang on.
    assert.deepEqual(parts.slice(0, 3), ['boot', 'userSpace', 'ima']);
  });

  it('leaves out what its connection has shown', () => {
    const { parts } = questionFor(['sha256'], {}, ['disk'], [], anew);
    const all = questionFor(['sha256'], {}, [], [], anew).parts;
    assert.deepEqual(
      parts,
      all.filter((part) => part !== 'disk'),
    );
  });

  it('is the list of what ran from where it is to go on, while that is wanted and is worth it', () => {
    const goesOn: SupplementPlace = { of: [], from: 4096, bootId: 'a' };
    const asked = (enough: readonly PartName[], list: SupplementPlace | null) => {
      const places = list === null ? {} : { ima: list };
      const { supplements, parts } = questionFor(['sha256'], {}, enough, [], places);
      return [supplements.ima ?? null, parts.includes('ima')];
    };
    assert.deepEqual(asked([], goesOn), [goesOn, true]);
    assert.deepEqual(asked(['ima'], goesOn), [null, false]);
    assert.deepEqual(asked([], null), [null, false]);
  });
});
