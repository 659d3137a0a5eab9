import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { lengthPrefixed } from '../../../attest-server/wire/binding.ts';

describe('parts behind their lengths', () => {
  it('are told apart wherever the bytes are parted', () => {
    const hex = (...parts: readonly string[]) =>
      lengthPrefixed(parts.map((part) => Buffer.from(part))).toString('hex');
    assert.equal(hex('a', '', 'bc'), `00000001${'61'}0000000000000002${'6263'}`);
    assert.notEqual(hex('ab', 'c'), hex('a', 'bc'));
  });

  it('stay what they were when others are joined', () => {
    const first = lengthPrefixed([Buffer.from('first')]);
    const copy = Buffer.from(first);
    lengthPrefixed([Buffer.from('other')]);
    assert.deepEqual(first, copy);
  });
});
