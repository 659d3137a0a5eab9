import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { formatSelection, normaliseSelection, splitValues } from '../../../agent/node-tpm2/pcrs.ts';

describe('PCR selections', () => {
  it('are sorted, each PCR once, banks in a fixed order', () => {
    const selection = normaliseSelection({ sha256: [7, 0, 7], sha1: [10, 2] });
    assert.equal(formatSelection(selection), 'sha1:2,10+sha256:0,7');
  });

  it('leave out a bank without PCRs', () => {
    assert.equal(formatSelection(normaliseSelection({ sha1: [], sha256: [1] })), 'sha256:1');
  });

  it('are refused when empty, out of range or of an unknown bank', () => {
    for (const bad of [
      {},
      { sha256: [] },
      { sha256: [24] },
      { sha256: [-1] },
      { sha256: [1.5] },
      { md5: [0] },
    ])
      assert.throws(() => normaliseSelection(bad), { code: 'bad_input' });
  });

  it('split the values by bank', () => {
    const values = splitValues(Buffer.alloc(20 + 64, 1), normaliseSelection({ sha1: [0], sha256: [0, 1] }));
    assert.equal(values.sha1?.length, 20);
    assert.equal(values.sha256?.length, 64);
  });

  it('name a bank that is not allocated', () => {
    assert.throws(() => splitValues(Buffer.alloc(20), normaliseSelection({ sha1: [0], sha512: [0] })), {
      code: 'bad_input',
    });
  });
});
