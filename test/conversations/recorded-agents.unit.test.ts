import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Action, Session } from '../../attest-server/channel/session.ts';
import { type Activate, parseServerMessage, type ServerMessage } from '../../attest-server/wire/messages.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';
import {
  assertAccepted,
  type Conversation,
  frameBytes,
  lineage,
  type Release,
  readRefusedRelease,
  readReleases,
} from './recording.ts';
import { openRooms, type ServerRooms } from './server-rooms.ts';

describe('the server of this tree, towards recorded agents of each release', () => {
  for (const release of readReleases()) {
    describe(release.version, () => {
      for (const [name, conversation] of release.conversations)
        it(`takes every frame of ${name}, and says what was said then`, async () => {
          await using rooms = await openRooms(release);
          for (const each of lineage(release, conversation)) await replay(release, each, rooms);
        });

      it('refuses the same frames on another connection', async () => {
        for (const conversation of release.conversations.values()) {
          if (conversation.enrolled === null) continue;
          await using rooms = await openRooms(release);
          const earlier = lineage(release, conversation).slice(0, -1);
          for (const each of earlier) await replay(release, each, rooms);
          const elsewhere = { ...conversation, channel: '00'.repeat(32) };
          await assert.rejects(replay(release, elsewhere, rooms), {
            actual: {
              type: 'error',
              code: conversation.after === null ? 'identity_unproven' : 'channel_binding',
            },
          });
        }
      });
    });
  }
});

describe('the server of this tree, towards recorded agents of 0.1.0', () => {
  const release = readRefusedRelease();
  for (const [name, { channel, steps }] of release.conversations)
    it(`refuses the hello of ${name} with a code that this agent takes, and names 0.3.0 in its own log`, () => {
      const [hello] = steps.flatMap((step) => (step.kind === 'text' ? [step.text] : []));
      const refused = new Session(Buffer.from(channel, 'hex')).take(hello ?? '', 0);
      assert(refused?.do === 'refuse');
      assertAccepted(release.accepted.fromServer, { type: 'error', code: refused.code });
      assert.match(refused.text, /update it to 0\.3\.0/);
    });
});

/** Feeds what the agent sent, and compares what the server of this tree makes of it with what was recorded. */
async function replay(release: Release, conversation: Conversation, rooms: ServerRooms): Promise<void> {
  const session = new Session(Buffer.from(conversation.channel, 'hex'));
  const began = Date.parse(conversation.startedAt);
  const said: ServerMessage[] = [];
  let peer: Awaited<ReturnType<ServerRooms['identify']>>['peer'] | null = null;
  /** Whether the server of this tree would challenge now. */
  let isAsking = false;
  /** Digests of what the next challenge asks for. */
  let wanted: readonly string[] = [];

  /** As the connection sends it. */
  const say = (message: ServerMessage) => {
    said.push(message);
  };
  const carryOut = async (action: Action | null): Promise<void> => {
    if (action !== null) await follow(action).then(carryOut, refused);
  };
  const refused = (error: unknown) => {
    if (!(error instanceof Rejection)) throw error;
    return carryOut(session.refuse(error.code, error.message));
  };
  const follow = async (action: Action): Promise<Action | null> => {
    switch (action.do) {
      case 'send':
        say(action.message);
        return null;
      case 'identify': {
        const found = await rooms.identify(action.hello, action.tokens);
        peer = found.peer;
        return session.identified(found.isEnrolled ? null : recordedActivation(conversation));
      }
      case 'enrol':
        assert(peer !== null);
        peer = await rooms.enrol(peer);
        return session.enrolled();
      case 'challenge':
        isAsking = true;
        return null;
      case 'judge': {
        assert(peer !== null);
        const judged = await rooms.judge(peer, session, action);
        if ('again' in judged) {
          wanted = rooms.filesOf(peer, session);
          return null;
        }
        const { state, codes } = judged;
        say({ type: 'verdict', state, codes: [...codes] });
        return null;
      }
      case 'refuse':
        say({ type: 'error', code: action.code });
        return null;
      case 'note':
      case 'opened':
      case 'trusts':
      case 'header':
      case 'lease':
        return null;
    }
  };

  const compare = async (recorded: ServerMessage): Promise<void> => {
    if (recorded.type === 'challenge') {
      // The nonce is of the recording: said-to-old-agents.e2e.test.ts has what this tree asks.
      isAsking = false;
      assert.deepEqual(recorded.files ?? [], wanted);
      wanted = [];
      await carryOut(session.challenge(recorded, Buffer.from(recorded.nonce, 'base64'), rooms.now));
    }
    const message = said.shift();
    assert(message !== undefined, `nothing is said where ${recorded.type} was`);
    assertAccepted(release.accepted.fromServer, message);
    if (recorded.type === 'verdict' && message.type === 'verdict') {
      // Said since then where nothing proves what was measured again: such agents send no list of IMA.
      const codes = message.codes.filter((code) => code !== 'facts_unavailable');
      assert.deepEqual([message.state, codes], [recorded.state, recorded.codes]);
    } else assert.deepEqual(message, recorded);
  };

  for (const step of conversation.steps) {
    rooms.now = began + step.ms;
    if (!('from' in step)) await rooms.operate(step, conversation.node);
    else if (step.kind === 'close') break;
    else if (step.from === 'server') {
      assert(step.kind === 'text', 'a server of that time sends no binary frame');
      await compare(parseServerMessage(step.text));
    } else if (step.kind === 'binary') await carryOut(session.take(frameBytes(release, step), 0));
    else {
      await carryOut(session.take(step.text, rooms.now));
      if (step.text.startsWith('{"type":"changed"')) assert(isAsking, 'a change is followed by a challenge');
    }
  }
  assert.deepEqual(said, [], 'nothing is said that was not recorded');
  const record = await rooms.record(conversation.node);
  assert.deepEqual(
    record && {
      bound: record.bound,
      tpmClass: record.tpmClass,
      ekDigest: record.ekDigest,
      ekPublicArea: record.ekPublicArea.toString('base64'),
      ekCertificate: record.ekCertificate?.toString('base64') ?? null,
      akName: record.akName,
      akPublicArea: record.akPublicArea.toString('base64'),
    },
    conversation.enrolled,
  );
}

function recordedActivation({ steps, activationSecret }: Conversation) {
  const message = steps
    .flatMap((each) =>
      each.kind === 'text' && each.from === 'server' ? [parseServerMessage(each.text)] : [],
    )
    .find((each): each is Activate => each.type === 'activate');
  assert(message !== undefined && activationSecret !== null, 'no activation was recorded');
  return {
    credential: Buffer.from(message.credential, 'base64'),
    encrypted: Buffer.from(message.secret, 'base64'),
    secret: Buffer.from(activationSecret, 'hex'),
  };
}
