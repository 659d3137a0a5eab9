import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { beforeEach, describe, it } from 'mocha';
import { type Action, activationProof, Session } from '../../../attest-server/channel/session.ts';
import { limits } from '../../../attest-server/protocol/limits.ts';
import { binaryFrame, type Challenge } from '../../../attest-server/protocol/messages.ts';

const channel = Buffer.alloc(32, 1);
const hello = JSON.stringify({
  type: 'hello',
  versions: { protocol: [1, 1], program: '1.2.3' },
  role: 'agent',
  node: 'node-1',
  banks: ['sha256'],
  ek: null,
  ak: null,
  joinToken: false,
});
const withToken = hello.replace('"joinToken":false', '"joinToken":true');
const token = binaryFrame('joinToken', Buffer.from('id.secret'));
const secret = () => Buffer.alloc(32, 9);
const wrapped = () => ({ credential: Buffer.of(1), encrypted: Buffer.of(2), secret: secret() });
const proof = (of: Buffer = secret(), on = channel, frame = hello) =>
  JSON.stringify({
    type: 'activated',
    proof: activationProof(of, on, hash('sha256', frame, 'hex')).toString('hex'),
  });
const challengeOf = (byte: number, within = 100): [Challenge, Buffer] => {
  const nonce = Buffer.alloc(32, byte);
  const message = { nonce: nonce.toString('base64'), selection: { sha256: [0] }, holds: [], within };
  return [{ type: 'challenge', purpose: 'attest', ...message }, nonce];
};
const evidence = (byte: number, change: object = {}) =>
  JSON.stringify({
    type: 'evidence',
    nonce: Buffer.alloc(32, byte).toString('base64'),
    channel: channel.toString('base64'),
    quotes: [{ attest: '', signature: '', pcrs: {} }],
    facts: '{}',
    bootLog: null,
    ...change,
  });
const changed = '{"type":"changed","what":"x"}';
const trusts = `{"type":"trusts","authorities":["${'ab'.repeat(32)}"]}`;
const raced = '{"type":"error","code":"evidence_raced"}';

/** What an action is, in a word. */
const words = (actions: readonly Action[]) =>
  actions.map((action) => {
    if (action.do === 'send') return `send ${action.message.type}`;
    return action.do === 'refuse' || action.do === 'note' ? `${action.do} ${action.code}` : action.do;
  });

type Step = readonly [string, (session: Session) => readonly Action[], ...string[]];
const say = (name: string, text: string, now: number, ...expected: string[]): Step => [
  name,
  (session) => session.text(text, now),
  ...expected,
];
const ask = (byte: number, now: number): Step => [
  `challenge ${byte}`,
  (session) => session.challenge(...challengeOf(byte), now),
  'send challenge',
];
const greeted = say('hello', hello, 0, 'identify');
const known: Step = ['known', (session) => session.identified(null), 'challenge'];
const candidate: Step = ['candidate', (session) => session.identified(wrapped()), 'send activate'];
const open: readonly Step[] = [greeted, known];

const tables: Readonly<Record<string, readonly Step[]>> = {
  'an enrolled node is asked at once': [...open, ask(1, 0), say('evidence', evidence(1), 50, 'judge')],
  'another one proves its keys first': [
    greeted,
    candidate,
    say('activated', proof(), 0, 'enrol'),
    ['enrolled', (session) => session.enrolled(), 'challenge'],
  ],
  'a join token follows its hello': [
    say('hello', withToken, 0),
    ['token', (session) => session.binary(token), 'identify'],
  ],
  'a token that is too long is refused': [
    say('hello', withToken, 0),
    [
      'token',
      (session) => session.binary(binaryFrame('joinToken', Buffer.alloc(limits.enrolmentToken + 1))),
      'refuse malformed',
    ],
  ],
  'a token that was not announced is refused': [
    greeted,
    ['token', (session) => session.binary(token), 'refuse malformed'],
  ],
  'a wrong secret does not activate': [
    greeted,
    candidate,
    say('activated', proof(Buffer.alloc(32)), 0, 'refuse identity_unproven'),
  ],
  'a proof for another connection does not activate': [
    greeted,
    candidate,
    say('activated', proof(secret(), Buffer.alloc(32)), 0, 'refuse identity_unproven'),
  ],
  'a proof for another hello does not activate': [
    greeted,
    candidate,
    say('activated', proof(secret(), channel, withToken), 0, 'refuse identity_unproven'),
  ],
  'evidence instead of an activation is refused': [
    greeted,
    candidate,
    say('evidence', evidence(1), 0, 'refuse identity_unproven'),
  ],
  'evidence while the enrolment is written is refused': [
    greeted,
    candidate,
    say('activated', proof(), 0, 'enrol'),
    say('evidence', evidence(1), 0, 'refuse identity_unproven'),
  ],
  'a nonce that nobody drew is refused': [
    ...open,
    ask(1, 0),
    say('evidence', evidence(2), 0, 'refuse nonce_invalid'),
  ],
  'evidence before any challenge is refused': [
    ...open,
    say('evidence', evidence(1), 0, 'refuse nonce_invalid'),
  ],
  'an older nonce is refused': [
    ...open,
    ask(1, 0),
    ask(2, 0),
    say('evidence', evidence(1), 0, 'refuse nonce_stale'),
  ],
  'a nonce is used once': [
    ...open,
    ask(1, 0),
    say('evidence', evidence(1), 0, 'judge'),
    say('evidence', evidence(1), 0, 'refuse nonce_replayed'),
  ],
  'an answer on its deadline is in time': [...open, ask(1, 0), say('evidence', evidence(1), 100, 'judge')],
  'an answer after its deadline is late': [
    ...open,
    ask(1, 0),
    say('evidence', evidence(1), 100.1, 'refuse nonce_stale'),
  ],
  'an agent that was raced is asked again later, over another nonce': [
    ...open,
    ask(1, 0),
    say('error', raced, 0, 'note evidence_raced'),
    say('evidence', evidence(1), 0, 'refuse nonce_replayed'),
  ],
  'who asks to be challenged is, three times at once and then once a second': [
    ...open,
    say('changed', changed, 10_000, 'challenge'),
    say('changed', changed, 10_000, 'challenge'),
    say('changed', changed, 10_000, 'challenge'),
    say('changed', changed, 10_500),
    say('changed', changed, 11_500, 'challenge'),
    say('changed', changed, 11_500),
  ],
  'who is being asked is not asked again': [...open, ask(1, 0), say('changed', changed, 50)],
  'who let a challenge pass may ask for another one': [
    ...open,
    ask(1, 0),
    say('changed', changed, 150, 'challenge'),
  ],
  'what an agent trusts is heard once the conversation stands': [...open, say('trusts', trusts, 0, 'trusts')],
  'what an agent trusts is out of order before': [say('trusts', trusts, 0, 'refuse malformed')],
  'an error before the conversation stands is out of order': [say('error', raced, 0, 'refuse malformed')],
  'a boot log comes with its evidence, once': [
    ...open,
    ['early log', (session) => session.binary(binaryFrame('bootLog', Buffer.of(1))), 'refuse malformed'],
  ],
  'a second hello is refused': [...open, say('hello', hello, 0, 'refuse malformed')],
  'another protocol is refused': [
    say('hello', hello.replace('[1,1]', '[2,4]'), 0, 'refuse malformed'),
    ['known', (session) => session.identified(null)],
  ],
  'nothing follows a refusal': [
    say('nonsense', '?', 0, 'refuse malformed'),
    say('hello', hello, 0),
    ['known', (session) => session.identified(null)],
    ['enrolled', (session) => session.enrolled()],
    ['token', (session) => session.binary(token)],
    ['challenge', (session) => session.challenge(...challengeOf(1), 0)],
    ['refuse', (session) => session.refuse('identity_unproven', 'again')],
  ],
};

describe('a session', () => {
  let session: Session;
  beforeEach(() => {
    session = new Session(channel);
  });

  for (const [name, steps] of Object.entries(tables))
    it(name, () => {
      for (const [what, input, ...expected] of steps) assert.deepEqual(words(input(session)), expected, what);
    });

  it('hands on the last boot log that came with an answer, and forgets it then', () => {
    session.text(hello, 0);
    session.identified(null);
    const judged = (byte: number) => session.text(evidence(byte), 0)[0];
    session.challenge(...challengeOf(1), 0);
    session.binary(binaryFrame('bootLog', Buffer.from('first')));
    session.binary(binaryFrame('bootLog', Buffer.from('second')));
    const first = judged(1);
    assert(first?.do === 'judge');
    assert.equal(first.bootLog?.bytes.toString(), 'second');
    assert.equal(first.bootLog.digest, hash('sha256', 'second', 'hex'));
    session.challenge(...challengeOf(2), 0);
    const next = judged(2);
    assert(next?.do === 'judge');
    assert.equal(next.bootLog, null);
  });

  it('wipes the activation secret after one try', () => {
    const activation = wrapped();
    session.text(hello, 0);
    session.identified(activation);
    session.text(proof(Buffer.alloc(32, 3)), 0);
    assert(activation.secret.every((byte) => byte === 0));
  });
});
