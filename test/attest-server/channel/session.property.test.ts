import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { activationProof, Session } from '../../../attest-server/channel/session.ts';
import type { Challenge } from '../../../attest-server/wire/messages.ts';
import { trials } from '../../trials.ts';

const channel = Buffer.alloc(32, 1);
const secret = Buffer.alloc(32, 9);
const nonce = Buffer.alloc(32, 3);
const base64 = nonce.toString('base64');
const hello = (joinToken: boolean, clusterToken?: boolean) =>
  JSON.stringify({
    type: 'hello',
    versions: { protocol: [1, 1], program: '1' },
    role: 'agent',
    node: 'node-1',
    banks: [],
    ek: null,
    ak: null,
    joinToken,
    clusterToken,
    speaks: ['parts', 'codes'],
  });
const challenge: Challenge = {
  type: 'challenge',
  nonce: base64,
  selection: { sha256: [0] },
  purpose: 'attest',
  holds: [],
  parts: ['boot'],
  supplements: { ima: { of: [], from: 3, bootId: null, most: 8 } },
  within: 100,
};

/** Frames as a peer may send them: good ones, good ones cut or changed, and any bytes. */
const good: readonly string[] = [
  hello(false),
  hello(true),
  hello(false, true),
  hello(true, true),
  JSON.stringify({ type: 'activated', proof: '00'.repeat(32) }),
  JSON.stringify({
    type: 'evidence',
    nonce: base64,
    channel: base64,
    facts: '{}',
    quotes: [{ attest: '', signature: '', pcrs: {} }],
    parts: { boot: { digest: hash('sha256', 'part', 'hex') } },
  }),
  JSON.stringify({
    type: 'evidence',
    nonce: base64,
    channel: base64,
    facts: '{}',
    quotes: [{ attest: '', signature: '', pcrs: {} }],
    parts: {},
    ima: { from: 3, more: true, pieces: [hash('sha256', 'piece', 'hex')] },
  }),
  '{"type":"changed","what":"x"}',
  '{"type":"error","code":"evidence_raced"}',
];
const frame = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...good) },
  fc.tuple(fc.constantFrom(...good), fc.nat(400)).map(([text, end]) => text.slice(0, end)),
  fc.string(),
  fc.json(),
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(
    Buffer.from('\x01id.secret'),
    Buffer.from('\x02log'),
    Buffer.from('\x03part'),
    Buffer.from('\x05a.b.c'),
    Buffer.from('\x06piece'),
    Buffer.alloc(0),
  ),
);
type Input = string | Buffer | 'challenge now';
const input: fc.Arbitrary<Input> = fc.oneof(
  { weight: 5, arbitrary: frame },
  fc.constant('challenge now' as const),
);

function feed(session: Session, each: Input, now: number) {
  if (each === 'challenge now') return session.challenge(challenge, nonce, now);
  return session.take(each, now);
}

describe('a session, given any frames', () => {
  it('never throws, never opens or judges without activation, and says nothing after a refusal', () => {
    fc.assert(
      fc.property(fc.array(input, { maxLength: 24 }), (inputs) => {
        const session = new Session(channel);
        let refused = false;
        for (const [now, each] of inputs.entries()) {
          const action = feed(session, each, now);
          assert(!refused || action === null);
          assert(action?.do !== 'judge' && action?.do !== 'enrol' && action?.do !== 'challenge');
          refused ||= action?.do === 'refuse';
          if (action?.do === 'identify') {
            const secretOfItsOwn = Buffer.from(secret);
            session.identified({ credential: Buffer.of(), encrypted: Buffer.of(), secret: secretOfItsOwn });
          }
          assert(!session.open);
        }
      }),
      { numRuns: trials(100) },
    );
  });

  it('judges at most once for each nonce, and only what it drew', () => {
    fc.assert(
      fc.property(fc.array(input, { maxLength: 24 }), (inputs) => {
        const session = new Session(channel);
        session.take(hello(false), 0);
        session.identified({ credential: Buffer.of(), encrypted: Buffer.of(), secret: Buffer.from(secret) });
        const proof = activationProof(secret, channel, hash('sha256', hello(false), 'hex')).toString('hex');
        assert.equal(session.take(JSON.stringify({ type: 'activated', proof }), 0)?.do, 'enrol');
        session.enrolled();
        assert(session.open);
        let drawn = 0;
        let judged = 0;
        for (const [now, each] of inputs.entries()) {
          const action = feed(session, each, now);
          if (each === 'challenge now' && action !== null) drawn += 1;
          if (action?.do === 'judge') judged += 1;
          assert(judged <= drawn);
        }
      }),
      { numRuns: trials(100) },
    );
  });
});
