import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { isRootMeasured } from '../../../attest-server/keys/refusal.ts';

const [hash, other] = [`roothash=${'ab'.repeat(32)}`, `roothash=${'cd'.repeat(32)}`];

describe('a root file system that a command line vouches for', () => {
  const cases: readonly [string, readonly string[], readonly string[], boolean][] = [
    ['one hash', [`quiet ${hash} ro`], [], true],
    ['one hash in each line', [hash, `ro ${hash}`], ['quiet'], true],
    ['no line', [], [], false],
    ['no hash', ['quiet ro'], [], false],
    ['a line without one beside one with it', [hash, 'quiet'], [], false],
    ['two hashes', [`${hash} ${other}`], [], false],
    ['one that is taken back', [`${hash} roothash=off`], [], false],
    ['a hash within quotes', [`x="a ${hash} b"`], [], false],
    ['a hash for init', [`quiet -- ${hash}`], [], false],
    ['a hash that is too short', [hash.slice(0, -1)], [], false],
    ['a hash that the kernel does not read', [`${'x'.repeat(2048)} ${hash}`], [], false],
    ['a hash that the policy lets vary', [hash], ['roothash=*'], false],
    ['a hash that a wider glob lets vary', [hash], ['*hash=*'], false],
  ];
  for (const [name, lines, allow, isMeasured] of cases)
    it(`${isMeasured ? 'is' : 'is not'} one by ${name}`, () => {
      assert.equal(isRootMeasured(lines, allow), isMeasured);
    });
});
