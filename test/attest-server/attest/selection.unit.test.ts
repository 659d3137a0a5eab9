import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { questionFor } from '../../../attest-server/attest/selection.ts';
import { aspects } from '../../../attest-server/policy/aspects.ts';

const upTo = (count: number) => Array.from({ length: count }, (_, pcr) => pcr);

describe('what a node is asked for', () => {
  it('is every PCR of its best bank, and those that are compared of each other strong one', () => {
    assert.deepEqual(questionFor(['sha1', 'sha256'], {}).selection, { sha256: upTo(24) });
    assert.deepEqual(questionFor(['sha512', 'sha384', 'sha256'], {}).selection, {
      sha256: upTo(24),
      sha384: upTo(16),
      sha512: upTo(16),
    });
    assert.deepEqual(questionFor(['sha1', 'sha384'], {}).selection, { sha384: upTo(24) });
  });

  it('is SHA-1 where there is nothing better, so that the answer says so', () => {
    assert.deepEqual(questionFor(['sha1'], {}).selection, { sha1: upTo(24) });
    assert.deepEqual(questionFor([], {}).selection, { sha1: upTo(24) });
  });

  it('is each part that an aspect reads', () => {
    const { parts } = questionFor(['sha256'], {});
    assert.deepEqual(new Set(parts), new Set(aspects.flatMap((aspect) => aspect.parts)));
    // A boot is read first: it is what the other parts hang on.
    assert.deepEqual(parts.slice(0, 3), ['boot', 'userSpace', 'ima']);
  });

  it('leaves out what its connection has shown', () => {
    const { parts } = questionFor(['sha256'], {}, ['ima']);
    assert.deepEqual(
      parts,
      questionFor(['sha256'], {}).parts.filter((part) => part !== 'ima'),
    );
  });
});
