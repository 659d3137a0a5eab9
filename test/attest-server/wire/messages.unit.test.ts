import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseFacts } from '../../../attest-server/wire/facts.ts';
import { parseAgentMessage, parseServerMessage } from '../../../attest-server/wire/messages.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const hello = {
  type: 'hello',
  versions: { protocol: [1, 1], program: '1.2.3' },
  role: 'agent',
  node: 'node-1',
  banks: ['sha256'],
  ek: null,
  ak: null,
  joinToken: false,
};
const base64 = Buffer.alloc(32).toString('base64');
const digest = 'ab'.repeat(32);
const envelope = {
  type: 'evidence',
  nonce: base64,
  channel: base64,
  quotes: [{ attest: '', signature: '', pcrs: {} }],
  facts: '{}',
};
const parsed = (message: object) => parseAgentMessage(JSON.stringify(message));
const codeOf = (message: object | string) =>
  rejectionOf(() => parseAgentMessage(typeof message === 'string' ? message : JSON.stringify(message)))?.code;

describe('a hello', () => {
  it('may have members of a later version, which are not looked at', () => {
    assert.deepEqual(parsed({ ...hello, later: { anything: [1] } }), hello);
  });

  it('of very many values is refused before it is parsed (row 123)', () => {
    const many = 20_000;
    for (const later of [
      '['.repeat(many) + ']'.repeat(many),
      `[${'1,'.repeat(many)}1]`,
      `[${'{},'.repeat(many)}1]`,
    ]) {
      const text = JSON.stringify(hello).replace('{', `{"later":${later},`);
      assert.doesNotThrow(() => JSON.parse(text));
      assert.equal(codeOf(text), 'too_large');
      assert.equal(codeOf(text.slice(1)), 'too_large');
    }
    assert.equal(codeOf({ ...hello, later: Array.from({ length: many / 2 }, () => 1) }), undefined);
  });

  it('says what the agent speaks in at most 32 short words, whether they are known or not', () => {
    const speaks = ['parts', 'x.y-9', 'a'.repeat(32)];
    const said = parsed({ ...hello, speaks });
    assert(said.type === 'hello');
    assert.deepEqual(said.speaks, speaks);
    const many = Array.from({ length: 33 }, (_, index) => `w${index}`);
    for (const wrong of [many, [''], ['Parts'], ['a'.repeat(33)], 'parts', [1]])
      assert.equal(codeOf({ ...hello, speaks: wrong }), 'malformed', JSON.stringify(wrong));
  });

  it('has no member more below its first level', () => {
    assert.equal(codeOf({ ...hello, versions: { ...hello.versions, more: 1 } }), 'malformed');
  });
});

describe('a message', () => {
  const text = JSON.stringify(hello);
  for (const [where, message] of [
    ['first', text.replace('{', '{"__proto__":{},')],
    ['escaped', text.replace('{', '{"\\u005f_proto__":1,')],
    ['inside', text.replace('"role"', '"later":[{"x":{"__proto__":null}}],"role"')],
  ] as const)
    it(`that names __proto__ is malformed (${where})`, () => {
      assert.doesNotThrow(() => JSON.parse(message));
      assert.equal(codeOf(message), 'malformed');
    });

  it('may hold those letters in a text, and may nest deeper than a stack', () => {
    assert.deepEqual(parsed({ ...hello, later: '__proto__' }), hello);
    const deep = `${'['.repeat(16_000)}"\\u0041"${']'.repeat(16_000)}`;
    assert.equal(codeOf(deep), 'malformed');
  });
});

describe('evidence', () => {
  it('names its parts by digest', () => {
    const parts = { boot: { digest }, userSpace: { digest } };
    assert.deepEqual(parsed({ ...envelope, parts }), { ...envelope, parts });
  });

  for (const [what, change] of [
    ['no parts', {}],
    ['the form of 0.1.0', { bootLog: null }],
    ['a member of that form beside its parts', { parts: {}, bootLog: null }],
    ['a part that has no name here', { parts: { other: { digest } } }],
    ['a part without a digest', { parts: { boot: {} } }],
    ['a part with its bytes', { parts: { userSpace: { digest, bytes: '' } } }],
    ['a digest of another length', { parts: { boot: { digest: 'ab' } } }],
    ['one member more', { parts: {}, more: 1 }],
  ] as const)
    it(`with ${what} is malformed`, () => assert.equal(codeOf({ ...envelope, ...change }), 'malformed'));
});

describe('a challenge', () => {
  const challenge = {
    type: 'challenge',
    nonce: base64,
    selection: {},
    purpose: 'attest',
    holds: [],
    within: 1,
  };
  it('may name parts that this agent has never heard of, and up to 32 digests', () => {
    const later = { ...challenge, parts: ['boot', 'ofLater'], holds: Array(32).fill(digest) };
    assert.deepEqual(parseServerMessage(JSON.stringify(later)), later);
    const more = { ...later, holds: Array(33).fill(digest) };
    assert.equal(rejectionOf(() => parseServerMessage(JSON.stringify(more)))?.code, 'malformed');
  });
});

describe('a verdict or a refusal', () => {
  it('may have a code that this agent does not know, if it is printable and short', () => {
    const verdict = (code: unknown) => ({ type: 'verdict', state: 'untrusted', codes: [code] });
    const refusal = (code: unknown) => ({ type: 'error', code });
    for (const made of [verdict, refusal]) {
      const later = made('code_of_later');
      assert.deepEqual(parseServerMessage(JSON.stringify(later)), later);
      for (const code of ['', 'a\u001bb', 'two words', 'Malformed', 'a'.repeat(65), 1, null])
        assert.equal(
          rejectionOf(() => parseServerMessage(JSON.stringify(made(code))))?.code,
          'malformed',
          JSON.stringify(code),
        );
    }
  });

  it('of an agent has one of three codes (row 124)', () => {
    const reported: readonly string[] = ['evidence_raced', 'facts_unavailable', 'audit_rollback'];
    for (const code of reported) assert.equal(codeOf({ type: 'error', code }), undefined);
    for (const code of ['code_of_later', ...reasonCodes].filter((each) => !reported.includes(each)))
      assert.equal(codeOf({ type: 'error', code }), 'malformed', code);
  });
});

describe('facts', () => {
  const facts = {
    purpose: 'attest',
    node: 'node-1',
    bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
    helloDigest: digest,
  };
  it('say the digests of parts, and what is unavailable and why', () => {
    const whole = { ...facts, parts: { disk: digest }, unavailable: { boot: 'late', ofLater: 'x' } };
    assert.deepEqual(parseFacts(JSON.stringify(whole)), whole);
    for (const wrong of [
      { parts: { other: digest } },
      { parts: { disk: 'ab' } },
      { unavailable: { boot: 'x'.repeat(257) } },
      { unavailable: { boot: 'a\u001bb' } },
      { unavailable: { 'no name': '' } },
    ])
      assert.equal(
        rejectionOf(() => parseFacts(JSON.stringify({ ...facts, ...wrong })))?.code,
        'malformed',
        JSON.stringify(wrong),
      );
  });
});
