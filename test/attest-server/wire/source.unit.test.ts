import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { sourceOf } from '../../../attest-server/wire/source.ts';

describe('a source', () => {
  for (const [address, source] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    [undefined, ''],
  ] as const)
    it(`of ${address} is ${source || 'nameless'}`, () => assert.equal(sourceOf(address), source));
});
