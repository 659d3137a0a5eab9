import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { highRangePolicies } from '../../../agent/node-tpm2/ek-profile.ts';
import { cutDer } from '../../../agent/node-tpm2/nv.ts';

describe('certificates from NV', () => {
  const cases: readonly [string, string, string | null][] = [
    ['a short certificate with padding is cut', '3003020100ffff', '3003020100'],
    ['a length of one byte is read', `308180${'00'.repeat(128)}ff`, `308180${'00'.repeat(128)}`],
    ['a length of two bytes is read', `30820100${'00'.repeat(256)}00`, `30820100${'00'.repeat(256)}`],
    ['a length beyond the bytes is none', '30820100ff', null],
    ['a cut length is none', '3082', null],
    ['an indefinite length is none', '30800000', null],
    ['an erased index is none', 'ffffffff', null],
    ['no bytes are none', '', null],
  ];
  for (const [title, bytes, expected] of cases)
    it(title, () => {
      assert.equal(cutDer(Buffer.from(bytes, 'hex'))?.toString('hex') ?? null, expected);
    });
});

describe('high-range endorsement key policies', () => {
  for (const [nameAlg, { a, b, c }] of Object.entries(highRangePolicies))
    it(`are the PolicyOR of both branches for ${nameAlg}`, () => {
      const zeros = '00'.repeat(a.length / 2);
      assert.equal(hash(nameAlg, Buffer.from(`${zeros}00000171${a}${c}`, 'hex')), b);
    });
});
