import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { unmeasuredRoot } from '../../../attest-server/keys/refusal.ts';

const [hash, other] = [`roothash=${'ab'.repeat(32)}`, `roothash=${'cd'.repeat(32)}`];

describe('a root file system that a command line vouches for', () => {
  const cases: readonly [string, readonly string[], readonly string[], string][] = [
    ['one hash', [`quiet ${hash} ro`], [], ''],
    ['one hash in each line', [hash, `ro ${hash}`], ['quiet'], ''],
    ['no line', [], [], 'no command line was measured'],
    ['no hash', ['quiet ro'], [], 'no dm-verity root hash'],
    ['a line without one beside one with it', [hash, 'quiet'], [], 'no dm-verity root hash'],
    ['two hashes', [`${hash} ${other}`], [], 'several root hashes'],
    ['one that is taken back', [`${hash} roothash=off`], [], 'several root hashes'],
    ['a hash within quotes', [`x="a ${hash} b"`], [], 'no dm-verity root hash'],
    ['a hash for init', [`quiet -- ${hash}`], [], 'no dm-verity root hash'],
    ['a hash that is too short', [hash.slice(0, -1)], [], 'not one of 64 hex digits'],
    ['a hash that the kernel does not read', [`${'x'.repeat(2048)} ${hash}`], [], 'does not read all'],
    ['a hash that the policy lets vary', [hash], ['roothash=*'], 'boot.cmdline.allow'],
    ['a hash that a wider glob lets vary', [hash], ['*hash=*'], 'boot.cmdline.allow'],
  ];
  for (const [name, lines, allow, why] of cases)
    it(`${why === '' ? 'is' : 'is not'} one by ${name}`, () => {
      const fault = unmeasuredRoot(lines, allow);
      if (why === '') assert.equal(fault, null);
      else assert(fault?.includes(why), `${fault}`);
    });
});
