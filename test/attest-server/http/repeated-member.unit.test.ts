import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { repeatedMember } from '../../../attest-server/http/repeated-member.ts';

describe('a member that an object of JSON has twice', () => {
  for (const [text, path] of [
    ['{"a":1,"a":2}', 'a'],
    ['{"a":1,"\\u0061":2}', 'a'],
    ['{"a\\"":1,"b":[],"a\\"":2}', 'a"'],
    ['{"\\\\":1,"\\\\":2}', '\\'],
    ['{"a":{"b":[{"c":1},{"c":1,"d":{"e":0, "e" : 0}}]}}', 'a.b.1.d.e'],
    ['[{"a":1},{"a":1,"a":1}]', '1.a'],
    ['{"a":[1,[2,3],{"b":1,"b":2}]}', 'a.2.b'],
    ['{"":1,"":2}', ''],
    ['{"a":{"a":1},"b":{"a":1},"c":["a","a"],"d":"a"}', null],
    ['{"a":"\\"a\\":1,","b":"{\\"a\\":1,\\"a\\":2}"}', null],
    ['[["a","a"],"a"]', null],
    ['"a"', null],
    ['7', null],
  ] as const)
    it(`is ${path === null ? 'nowhere' : JSON.stringify(path)} in ${text}`, () => {
      JSON.parse(text);
      assert.equal(repeatedMember(text), path);
    });

  it('is nowhere in what a program writes, and wherever somebody adds one', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), fc.boolean(), (value, name, isSpaced) => {
        const text = JSON.stringify(value, null, isSpaced ? 2 : 0);
        assert.equal(repeatedMember(text), null);
        const key = JSON.stringify(name);
        assert.equal(repeatedMember(`[${text},{${key}:${text},${key}:0}]`), `1.${name}`);
      }),
    );
  });

  it('is found in time that grows with the length, however deep it nests and whatever it escapes', () => {
    for (const text of [
      `${'['.repeat(500_000)}${']'.repeat(500_000)}`,
      `{"a":"${'\\\\'.repeat(500_000)}"}`,
      `[${'"\\"",'.repeat(200_000)}1]`,
    ])
      assert.equal(repeatedMember(text), null);
  });
});
