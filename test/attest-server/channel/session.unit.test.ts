import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { beforeEach, describe, it } from 'mocha';
import { bounds } from '../../../attest-server/channel/bounds.ts';
import { type Action, activationProof, Session } from '../../../attest-server/channel/session.ts';
import { keyRequestOf } from '../../../attest-server/wire/key-request.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { binaryFrame, type Challenge, supplementFrame } from '../../../attest-server/wire/messages.ts';
import { madeKeyRequest } from '../wire/made-keys.ts';

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
  speaks: ['parts', 'codes'],
});
const withToken = hello.replace('"joinToken":false', '"joinToken":true');
const token = binaryFrame('joinToken', Buffer.from('id.secret'));
const withClusterToken = hello.replace('"joinToken":', '"clusterToken":true,"joinToken":');
const withBoth = withToken.replace('"joinToken":', '"clusterToken":true,"joinToken":');
const clusterToken = binaryFrame('clusterToken', Buffer.from('head.claims.signature'));
const secret = () => Buffer.alloc(32, 9);
const wrapped = () => ({ credential: Buffer.of(1), encrypted: Buffer.of(2), secret: secret() });
const proof = (of: Buffer = secret(), on = channel, frame = hello) =>
  JSON.stringify({
    type: 'activated',
    proof: activationProof(of, on, hash('sha256', frame, 'hex')).toString('hex'),
  });
const challengeOf = (byte: number, within = 100): [Challenge, Buffer] => {
  const nonce = Buffer.alloc(32, byte);
  const message = {
    nonce: nonce.toString('base64'),
    selection: { sha256: [0] },
    holds: [],
    parts: [],
    within,
  };
  return [{ type: 'challenge', purpose: 'attest', ...message }, nonce];
};
const evidence = (byte: number, change: object = {}) =>
  JSON.stringify({
    type: 'evidence',
    nonce: Buffer.alloc(32, byte).toString('base64'),
    channel: channel.toString('base64'),
    quotes: [{ attest: '', signature: '', pcrs: {} }],
    facts: '{}',
    parts: {},
    ...change,
  });
const digestOf = (bytes: string | Buffer) => hash('sha256', bytes, 'hex');
const evidenceOf = (byte: number, digests: Readonly<Record<string, string>>) => {
  const parts = Object.fromEntries(Object.entries(digests).map(([name, digest]) => [name, { digest }]));
  return evidence(byte, { parts });
};
const longRecords = Buffer.alloc(limits.parts.userSpace + 1);
const changed = '{"type":"changed","what":"x"}';
const trusts = `{"type":"trusts","authorities":["${'ab'.repeat(32)}"]}`;
const opened = `{"type":"opened","why":"operator","bootId":"${'0'.repeat(36)}","reason":""}`;
const raced = '{"type":"error","code":"evidence_raced"}';

/** What an action is, in a word. */
const words = (actions: readonly (Action | null)[]) =>
  actions.flatMap((action) => {
    if (action === null) return [];
    if (action.do === 'challenge' && action.after > 0) return `challenge after ${action.after}`;
    if (action.do === 'send') return `send ${action.message.type}`;
    return action.do === 'refuse' || action.do === 'note' ? `${action.do} ${action.code}` : action.do;
  });

type Step = readonly [string, (session: Session) => Action | null, ...string[]];
const say = (name: string, text: string, now: number, ...expected: string[]): Step => [
  name,
  (session) => session.take(text, now),
  ...expected,
];
const ask = (byte: number, now: number): Step => [
  `challenge ${byte}`,
  (session) => session.challenge(...challengeOf(byte), now),
  'send challenge',
];
/** The same with the parts that are taken. */
const askParts = (byte: number): Step => [
  `challenge ${byte}`,
  (session) => {
    const [message, nonce] = challengeOf(byte);
    return session.challenge({ ...message, parts: ['boot', 'userSpace'] }, nonce, 0);
  },
  'send challenge',
];
/** The same with IMA's list from an offset. */
const askIma = (byte: number, most: number = limits.ima.inAnswer): Step => [
  `challenge ${byte}`,
  (session) => {
    const [message, nonce] = challengeOf(byte);
    return session.challenge(
      { ...message, parts: ['boot'], supplements: { ima: { of: [], from: 9, bootId: null, most } } },
      nonce,
      0,
    );
  },
  'send challenge',
];
const [one, two] = [Buffer.from('one'), Buffer.from('two')];
const piece = (bytes: Buffer, ...expected: string[]): Step => [
  `piece of ${bytes.length} bytes`,
  (session) => session.take(supplementFrame('ima', bytes), 0),
  ...expected,
];
const evidenceOfIma = (byte: number, pieces: readonly Buffer[], { from = 9, more = false } = {}) =>
  evidence(byte, { supplements: { ima: { from, more, pieces: pieces.map(digestOf) } } });
const sayIma = (pieces: readonly Buffer[], said: object, ...expected: string[]) =>
  say('evidence', evidenceOfIma(1, pieces, said), 0, ...expected);
const greeted = say('hello', hello, 0, 'identify');
const known: Step = ['known', (session) => session.identified(null), 'challenge'];
const candidate: Step = ['candidate', (session) => session.identified(wrapped()), 'send activate'];
const open: readonly Step[] = [greeted, known];
const openGate: readonly Step[] = [say('hello', hello.replace('"agent"', '"gate"'), 0, 'identify'), known];
const openUnlock: readonly Step[] = [
  say('hello', hello.replace('"agent"', '"unlock"'), 0, 'identify'),
  known,
];
const keyRequest = keyRequestOf(madeKeyRequest()).toString('base64');
const unlocked = JSON.stringify({
  type: 'unlocked',
  leaseId: '00'.repeat(16),
  headerDigest: '00'.repeat(32),
});

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
    ['token', (session) => session.take(token, 0), 'identify'],
  ],
  'a token of the cluster follows its hello': [
    say('hello', withClusterToken, 0),
    ['token', (session) => session.take(clusterToken, 0), 'identify'],
  ],
  'both tokens may follow, in whichever order': [
    say('hello', withBoth, 0),
    ['token of the cluster', (session) => session.take(clusterToken, 0)],
    ['join token', (session) => session.take(token, 0), 'identify'],
  ],
  'nothing but the tokens may follow a hello that announces them': [
    say('hello', withBoth, 0),
    ['join token', (session) => session.take(token, 0)],
    say('evidence', evidence(1), 0, 'refuse identity_unproven'),
  ],
  'a token that came already is refused': [
    say('hello', withBoth, 0),
    ['join token', (session) => session.take(token, 0)],
    ['again', (session) => session.take(token, 0), 'refuse malformed'],
  ],
  'a token of the cluster that was not announced is refused': [
    say('hello', withToken, 0),
    ['token', (session) => session.take(clusterToken, 0), 'refuse malformed'],
  ],
  'a token of the cluster that is too long is refused': [
    say('hello', withClusterToken, 0),
    [
      'token',
      (session) => session.take(binaryFrame('clusterToken', Buffer.alloc(limits.enrolmentToken + 1)), 0),
      'refuse malformed',
    ],
  ],
  'a token that is too long is refused': [
    say('hello', withToken, 0),
    [
      'token',
      (session) => session.take(binaryFrame('joinToken', Buffer.alloc(limits.enrolmentToken + 1)), 0),
      'refuse malformed',
    ],
  ],
  'a token that was not announced is refused': [
    greeted,
    ['token', (session) => session.take(token, 0), 'refuse malformed'],
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
    say('one more', changed, 10_500, 'challenge after 500'),
    say('covered by that', changed, 10_900),
    say('after it', changed, 11_000, 'challenge after 1000'),
    say('much later', changed, 20_000, 'challenge'),
  ],
  'a change while a challenge is open is passed on, to be asked about afterwards': [
    ...open,
    ask(1, 0),
    say('changed', changed, 50, 'challenge'),
    say('evidence', evidence(1), 50, 'judge'),
  ],
  'who let a challenge pass may ask for another one': [
    ...open,
    ask(1, 0),
    say('changed', changed, 150, 'challenge'),
  ],
  'what an agent trusts is heard once the conversation stands': [...open, say('trusts', trusts, 0, 'trusts')],
  'what an agent trusts is out of order before': [say('trusts', trusts, 0, 'refuse malformed')],
  'an error before the conversation stands proves nothing': [
    say('error', raced, 0, 'refuse identity_unproven'),
  ],
  'a part is out of order where nothing was asked for': [
    ...open,
    ['part', (session) => session.take(binaryFrame('part', Buffer.of(1)), 0), 'refuse malformed'],
  ],
  'a part comes while a challenge is open': [
    ...open,
    askParts(1),
    ['part', (session) => session.take(binaryFrame('part', Buffer.of(1)), 0)],
    say('evidence', evidence(1), 0, 'judge'),
    ['late part', (session) => session.take(binaryFrame('part', Buffer.of(1)), 0), 'refuse malformed'],
  ],
  'parts are few': [
    ...open,
    askParts(1),
    ...Array.from({ length: bounds.parts.count + 1 }, (_, index): Step => {
      const frame = binaryFrame('part', Buffer.of(index));
      const isTooMany = index === bounds.parts.count;
      return [
        `part ${index}`,
        (session) => session.take(frame, 0),
        ...(isTooMany ? ['refuse too_large'] : []),
      ];
    }),
  ],
  'parts are few bytes together': [
    ...open,
    askParts(1),
    ['a log', (session) => session.take(binaryFrame('part', Buffer.alloc(limits.parts.boot, 1)), 0)],
    ['the same', (session) => session.take(binaryFrame('part', Buffer.alloc(limits.parts.boot, 1)), 0)],
    ['another', (session) => session.take(binaryFrame('part', Buffer.alloc(limits.parts.boot, 2)), 0)],
    ['a third', (session) => session.take(binaryFrame('part', Buffer.alloc(limits.parts.boot, 3)), 0)],
    ['one more', (session) => session.take(binaryFrame('part', Buffer.of(1)), 0), 'refuse too_large'],
  ],
  'evidence names no part that was not asked for': [
    ...open,
    askParts(1),
    say('evidence', evidenceOf(1, { disk: digestOf('x') }), 0, 'refuse malformed'),
  ],
  'a part is no longer than its own bound': [
    ...open,
    askParts(1),
    ['part', (session) => session.take(binaryFrame('part', longRecords), 0)],
    say('evidence', evidenceOf(1, { userSpace: digestOf(longRecords) }), 0, 'refuse too_large'),
  ],
  "a piece of IMA's list is out of order where nobody asked for it": [
    ...open,
    askParts(1),
    piece(one, 'refuse malformed'),
  ],
  'and before any challenge': [...open, piece(one, 'refuse malformed')],
  'and after its answer': [
    ...open,
    askIma(1),
    piece(one),
    sayIma([one], {}, 'judge'),
    piece(two, 'refuse malformed'),
  ],
  'a list is not named where nobody asked for it': [...open, askParts(1), sayIma([], {}, 'refuse malformed')],
  'pieces are those that the evidence names': [
    ...open,
    askIma(1),
    piece(one),
    piece(two),
    sayIma([one, two], {}, 'judge'),
  ],
  'not in another order': [
    ...open,
    askIma(1),
    piece(two),
    piece(one),
    sayIma([one, two], {}, 'refuse malformed'),
  ],
  'nor with other bytes': [...open, askIma(1), piece(two), sayIma([one], {}, 'refuse malformed')],
  'nor fewer': [...open, askIma(1), piece(one), sayIma([one, two], {}, 'refuse malformed')],
  'nor more': [...open, askIma(1), piece(one), piece(two), sayIma([one], {}, 'refuse malformed')],
  'nor unnamed': [...open, askIma(1), piece(one), say('evidence', evidenceOf(1, {}), 0, 'refuse malformed')],
  'nor as parts': [
    ...open,
    askIma(1),
    ['part', (session) => session.take(binaryFrame('part', one), 0)],
    sayIma([one], {}, 'refuse malformed'),
  ],
  'none is empty': [...open, askIma(1), piece(Buffer.alloc(0), 'refuse malformed')],
  'none is larger than one may be': [
    ...open,
    askIma(1),
    piece(Buffer.alloc(limits.ima.piece + 1), 'refuse too_large'),
  ],
  'they are few': [
    ...open,
    askIma(1),
    ...Array.from({ length: limits.ima.pieces }, (_, index) => piece(Buffer.of(index))),
    piece(one, 'refuse too_large'),
  ],
  'together they are no more bytes than were asked for': [
    ...open,
    askIma(1, 6),
    piece(one),
    piece(two),
    piece(Buffer.of(1), 'refuse too_large'),
  ],
  'a list goes on where that was asked for': [
    ...open,
    askIma(1),
    piece(one),
    sayIma([one], { from: 9 }, 'judge'),
  ],
  'or begins anew': [...open, askIma(1), piece(one), sayIma([one], { from: 0 }, 'judge')],
  'and nowhere else': [...open, askIma(1), piece(one), sayIma([one], { from: 8 }, 'refuse malformed')],
  'nothing may have been added': [...open, askIma(1), sayIma([], {}, 'judge')],
  'but not with more to come: that would go on for ever': [
    ...open,
    askIma(1),
    sayIma([], { more: true }, 'refuse malformed'),
  ],
  'an agent that has no list says nothing of it': [
    ...open,
    askIma(1),
    say('evidence', evidenceOf(1, {}), 0, 'judge'),
  ],
  'a role that has no row is refused with its hello': [
    say('hello', hello.replace('"agent"', '"survey"'), 0, 'refuse malformed'),
    ['known', (session) => session.identified(null)],
  ],
  'nor is a name one that every object has': [
    say('hello', hello.replace('"agent"', '"constructor"'), 0, 'refuse malformed'),
  ],
  'who holds the role of a gate tells of two openings on a connection: of this boot, and of one before': [
    ...openGate,
    say('error', raced, 0, 'note evidence_raced'),
    say('opened', opened, 0, 'opened'),
    say('opened', opened, 0, 'opened'),
    say('opened', opened, 0, 'refuse malformed'),
  ],
  'a gate says nothing of changes': [...openGate, say('changed', changed, 0, 'refuse role_denied')],
  'nor of authorities: the node is told of them once its agent is': [
    ...openGate,
    say('trusts', trusts, 0, 'refuse role_denied'),
  ],
  'a gate that has proven nothing has opened nothing': [
    say('hello', hello.replace('"agent"', '"gate"'), 0, 'identify'),
    say('opened', opened, 0, 'refuse identity_unproven'),
  ],
  'root of a running node gets no key by its agent': [
    ...open,
    say('key request', evidence(1, { keyRequest }), 0, 'refuse role_denied'),
  ],
  'a gate gets no key': [
    ...openGate,
    say('key request', evidence(1, { keyRequest }), 0, 'refuse role_denied'),
  ],
  'whoever unlocks disks may ask for a key': [
    ...openUnlock,
    ask(1, 0),
    say('key request', evidence(1, { keyRequest }), 50, 'judge'),
  ],
  'a key request is in the one form that it has': [
    ...openUnlock,
    say('key request', evidence(1, { keyRequest: 'AAAA' }), 0, 'refuse malformed'),
  ],
  'what became of a lease is passed on': [...openUnlock, say('unlocked', unlocked, 0, 'lease')],
  'nobody says that before the node is known': [
    say('hello', hello.replace('"agent"', '"unlock"'), 0, 'identify'),
    say('unlocked', unlocked, 0, 'refuse identity_unproven'),
  ],
  'an agent has unlocked nothing': [...open, say('unlocked', unlocked, 0, 'refuse role_denied')],
  'an agent opens no gate': [...open, say('opened', opened, 0, 'refuse role_denied')],
  'a second hello is refused': [...open, say('hello', hello, 0, 'refuse malformed')],
  'an agent of 0.1.0, which says nothing of what it speaks, is refused': [
    say('hello', hello.replace(/,"speaks":[^\]]*\]/, ''), 0, 'refuse malformed'),
    ['known', (session) => session.identified(null)],
  ],
  'another protocol is refused': [
    say('hello', hello.replace('[1,1]', '[2,4]'), 0, 'refuse malformed'),
    ['known', (session) => session.identified(null)],
  ],
  'nothing follows a refusal': [
    say('nonsense', '?', 0, 'refuse malformed'),
    say('hello', hello, 0),
    ['known', (session) => session.identified(null)],
    ['enrolled', (session) => session.enrolled()],
    ['token', (session) => session.take(token, 0)],
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
      for (const [what, input, ...expected] of steps)
        assert.deepEqual(words([input(session)]), expected, what);
    });

  it('hands on of what came the parts that the evidence names, and forgets all of it then', () => {
    session.take(hello, 0);
    session.identified(null);
    const [log, records] = [Buffer.from('log'), Buffer.from('records')];
    const named = evidenceOf(1, { boot: digestOf(log), userSpace: digestOf(records) });
    askParts(1)[1](session);
    for (const bytes of [Buffer.from('unnamed'), records, log]) session.take(binaryFrame('part', bytes), 0);
    const first = session.take(named, 0);
    assert(first?.do === 'judge');
    assert.deepEqual(first.parts, {
      boot: { digest: digestOf(log), bytes: log },
      userSpace: { digest: digestOf(records), bytes: records },
    });
    askParts(2)[1](session);
    const next = session.take(evidenceOf(2, { boot: digestOf(log) }), 0);
    assert(next?.do === 'judge');
    assert.deepEqual(next.parts, { boot: { digest: digestOf(log), bytes: null } });
  });

  it('gives long ones back that the evidence does not name, and none that it names (row 400)', () => {
    session.take(hello, 0);
    session.identified(null);
    const [log, unnamed] = [1, 2].map((byte) => Buffer.alloc(200 * 1024, byte)) as [Buffer, Buffer];
    const named = evidenceOf(1, { boot: digestOf(log) });
    askParts(1)[1](session);
    const frames = [unnamed, log].map((bytes) => binaryFrame('part', bytes));
    for (const frame of frames) session.take(frame, 0);
    const first = session.take(named, 0);
    assert(first?.do === 'judge');
    assert.deepEqual(first.parts, { boot: { digest: digestOf(log), bytes: log } });
    assert.deepEqual(
      frames.map(({ length }) => length),
      [0, log.length + 1],
    );
  });

  it('forgets parts with the challenge that they came for', () => {
    session.take(hello, 0);
    session.identified(null);
    askParts(1)[1](session);
    session.take(binaryFrame('part', Buffer.from('log')), 0);
    askParts(2)[1](session);
    const judged = session.take(evidenceOf(2, { boot: digestOf('log') }), 0);
    assert(judged?.do === 'judge');
    assert.equal(judged.parts.boot?.bytes, null);
  });

  it("hands on the pieces of IMA's list in order, and forgets them with their challenge", () => {
    session.take(hello, 0);
    session.identified(null);
    const judged = (text: string) => {
      const action = session.take(text, 0);
      assert(action?.do === 'judge');
      return action.supplements.ima?.came ?? null;
    };
    askIma(1)[1](session);
    session.take(supplementFrame('ima', one), 0);
    askIma(2)[1](session);
    for (const bytes of [two, one]) session.take(supplementFrame('ima', bytes), 0);
    const ima = judged(evidenceOfIma(2, [two, one], { more: true }));
    assert.deepEqual(ima, { from: 9, more: true, pieces: [two, one] });
    askIma(3)[1](session);
    session.take(supplementFrame('ima', one), 0);
    session.take(raced, 0);
    askIma(4)[1](session);
    assert.deepEqual(judged(evidenceOfIma(4, [])), { from: 9, more: false, pieces: [] });
    askParts(5)[1](session);
    assert.equal(judged(evidenceOf(5, {})), null);
  });

  it('names 0.3.0 to an agent of before as the step between, whichever of its words is missing', () => {
    for (const speaks of [[], ['parts'], ['codes', 'files'], ['of.later']]) {
      const refused = new Session(channel).take(JSON.stringify({ ...JSON.parse(hello), speaks }), 0);
      assert(refused?.do === 'refuse');
      assert.equal(refused.code, 'malformed');
      assert.match(refused.text, /before 0\.3\.0: update it to 0\.3\.0, then to the version of this server/);
    }
  });

  it('hands on each token as what it is, and keeps none', () => {
    const shown = (text: string, ...frames: readonly Buffer[]) => {
      const one = new Session(channel);
      const action =
        one.take(text, 0) ?? frames.map((frame) => one.take(frame, 0)).find((each) => each !== null);
      assert(action?.do === 'identify');
      assert.equal(JSON.stringify(one.hello).includes('oken'), false);
      return action.tokens;
    };
    assert.deepEqual(shown(hello), { join: null, cluster: null });
    assert.deepEqual(shown(withToken, token), { join: 'id.secret', cluster: null });
    assert.deepEqual(shown(withClusterToken, clusterToken), { join: null, cluster: 'head.claims.signature' });
    assert.deepEqual(shown(withBoth, token, clusterToken), {
      join: 'id.secret',
      cluster: 'head.claims.signature',
    });
  });

  it('keeps of what an agent speaks only what this server knows', () => {
    session.take(
      hello.replace('"parts",', '"parts","of.later",').replace('"joinToken"', '"later":{},"joinToken"'),
      0,
    );
    assert.deepEqual(session.hello?.speaks, ['parts', 'codes']);
  });

  it('wipes the activation secret after one try', () => {
    const activation = wrapped();
    session.take(hello, 0);
    session.identified(activation);
    session.take(proof(Buffer.alloc(32, 3)), 0);
    assert(activation.secret.every((byte) => byte === 0));
  });
});
