import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { pino } from 'pino';
import { AgentError } from '../../agent/agent-error.ts';
import type { Channel, Frame } from '../../agent/channel.ts';
import { type ConversationParts, startConversation } from '../../agent/conversation.ts';
import { nodeReader } from '../../agent/node-reader.ts';
import { growingParts, partNames } from '../../attest-server/wire/evidence.ts';
import { parseFacts } from '../../attest-server/wire/facts.ts';
import {
  parseAgentMessage,
  parseBinaryFrame,
  parseServerMessage,
  type ServerMessage,
} from '../../attest-server/wire/messages.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';
import { testAuthorityCertificate } from '../attest-server/forged-tpm.ts';

const base64 = (most: number) =>
  fc.uint8Array({ maxLength: most }).map((b) => Buffer.from(b).toString('base64'));
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b).toString('hex'));
const anyMessage = fc.oneof(
  fc.record({ type: fc.constant('activate'), credential: base64(200), secret: base64(300) }),
  fc.record({
    type: fc.constant('challenge'),
    nonce: fc.oneof(base64(32), fc.constant(Buffer.alloc(32).toString('base64'))),
    selection: fc.constantFrom({}, { sha256: [0] }, { sha1: [23, 0], sha512: [1] }),
    purpose: fc.constantFrom('attest', 'enrol'),
    holds: fc.array(digest, { maxLength: 4 }),
    parts: fc.subarray(['boot', 'userSpace', 'unheardOf']),
    within: fc.integer({ min: 1 }),
  }),
  fc.constant({ type: 'verdict', state: 'untrusted', codes: ['kernel_unknown'] }),
  fc.constant({ type: 'error', code: 'malformed' }),
);

class FakeChannel implements Channel {
  readonly binding = Buffer.alloc(32, 9);
  readonly peer = new X509Certificate(testAuthorityCertificate);
  readonly closed = Promise.withResolvers<never>().promise;
  readonly sent: Frame[] = [];
  readonly closes: (string | undefined)[] = [];
  tell: (message: ServerMessage) => void = () => {};

  listen(onMessage: (message: ServerMessage) => void): void {
    this.tell = onMessage;
  }
  send(...frames: readonly Frame[]): void {
    this.sent.push(...frames);
  }
  async sendInTurn(frames: Iterable<Frame>): Promise<void> {
    this.send(...frames);
  }
  close(_status?: number, code?: string): void {
    this.closes.push(code);
  }
}

function partsThat(tpm: ConversationParts['tpm'], more: Partial<ConversationParts> = {}): ConversationParts {
  return {
    node: 'node-1',
    program: '1.0.0',
    identity: { ek: null, ak: null, banks: [] },
    tpm,
    joinToken: null,
    clusterToken: null,
    readNode: async () => ({
      bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
      host: null,
      parts: new Map([['boot', Buffer.from('log')]]),
      unavailable: {},
      readGrowing: async () => ({ parts: new Map() }),
    }),
    signal: new AbortController().signal,
    on: { sent: () => {}, verdict: () => {}, accepted: () => {}, refused: () => {}, fault: () => {} },
    ...more,
  };
}

const failing = async () => {
  throw new ToolError('no', { code: 'failed', tool: 'tpm2' });
};
const working = {
  quote: async () => ({ attest: Buffer.of(1), signature: Buffer.of(2), pcrs: { sha256: Buffer.alloc(32) } }),
  activateCredential: async () => Buffer.alloc(32, 1),
};

describe('a conversation', () => {
  it('answers any messages with messages of the protocol, or closes, and never throws', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(anyMessage, { maxLength: 8 }),
        fc.constantFrom(null, working, { quote: failing, activateCredential: failing }),
        async (messages, tpm) => {
          const channel = new FakeChannel();
          startConversation(channel, partsThat(tpm));
          for (const message of messages) {
            channel.tell(parseServerMessage(JSON.stringify(message)));
            await turn();
          }
          for (const frame of channel.sent)
            if (Buffer.isBuffer(frame)) parseBinaryFrame(frame);
            else parseAgentMessage(frame);
        },
      ),
    ));

  it('gets a value or a Rejection from any text of the server', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseServerMessage(text);
        } catch (error) {
          assert(error instanceof Rejection);
        }
      }),
    );
  });

  it('shows the join token right after the hello, and says so in it', () => {
    const channel = new FakeChannel();
    startConversation(channel, partsThat(working, { joinToken: 'id1.secret' }));
    const [hello, token] = channel.sent;
    const said = parseAgentMessage(String(hello));
    assert(said.type === 'hello' && said.joinToken);
    assert(Buffer.isBuffer(token));
    assert.deepEqual(parseBinaryFrame(token), { kind: 'joinToken', payload: Buffer.from('id1.secret') });
  });

  it('shows the token of the cluster after that, and none to a server that would take it for nonsense', () => {
    const shown = (more: Partial<ConversationParts>) => {
      const channel = new FakeChannel();
      startConversation(channel, partsThat(working, { clusterToken: 'a.b.c', ...more }));
      const [hello, ...frames] = channel.sent;
      const said = parseAgentMessage(String(hello));
      assert(said.type === 'hello');
      return [
        said.clusterToken,
        ...frames.map((frame) => {
          assert(Buffer.isBuffer(frame));
          const { kind, payload } = parseBinaryFrame(frame);
          return `${kind} ${payload}`;
        }),
      ];
    };
    assert.deepEqual(shown({}), [true, 'clusterToken a.b.c']);
    assert.deepEqual(shown({ joinToken: 'id1.s' }), [true, 'joinToken id1.s', 'clusterToken a.b.c']);
    assert.deepEqual(shown({ clusterToken: null }), [undefined]);
  });

  for (const [what, isEnding] of [
    ['is told', false],
    ['is none once it was to end', true],
  ] as const)
    it(`a fault of the TPM ${what}`, async () => {
      const ending = new AbortController();
      const told: unknown[] = [];
      const quote = async () => {
        if (isEnding) ending.abort();
        return failing();
      };
      const on = { ...partsThat(working).on, fault: (error: unknown) => void told.push(error) };
      const channel = new FakeChannel();
      startConversation(channel, partsThat({ ...working, quote }, { signal: ending.signal, on }));
      const nonce = Buffer.alloc(32).toString('base64');
      channel.tell({
        type: 'challenge',
        nonce,
        selection: {},
        purpose: 'attest',
        holds: [],
        parts: [],
        within: 1,
      });
      await turn();
      assert.deepEqual([told.length, channel.closes.length], [isEnding ? 0 : 1, 1]);
    });

  it('keeps one question waiting, however many are asked', async () => {
    const gate = Promise.withResolvers<void>();
    let quotes = 0;
    const quote = async () => {
      quotes++;
      await gate.promise;
      return working.quote();
    };
    const channel = new FakeChannel();
    startConversation(channel, partsThat({ ...working, quote }));
    const challenge = {
      type: 'challenge',
      selection: { sha256: [0] },
      purpose: 'attest',
      holds: [],
      parts: [],
      within: 1,
    };
    for (let i = 0; i < 100; i++) {
      const nonce = Buffer.alloc(32, i).toString('base64');
      channel.tell(parseServerMessage(JSON.stringify({ ...challenge, nonce })));
    }
    await turn();
    gate.resolve();
    await turn();
    assert.equal(quotes, 2);
  });

  it('says facts_unavailable and stays where the node cannot be read', async () => {
    const channel = new FakeChannel();
    const readNode = async () => {
      throw new AgentError('facts_unavailable', 'no boot id', { retryable: true });
    };
    startConversation(channel, partsThat(working, { readNode }));
    const nonce = Buffer.alloc(32).toString('base64');
    const selection = { sha256: [0] };
    channel.tell({ type: 'challenge', nonce, selection, purpose: 'attest', holds: [], parts: [], within: 1 });
    await turn();
    assert.deepEqual(parseAgentMessage(String(channel.sent[1])), {
      type: 'error',
      code: 'facts_unavailable',
    });
    assert.deepEqual(channel.closes, []);
  });

  it('names no part that the server did not ask for, whatever else the node has', async () => {
    // An older server refuses evidence that names a part of later.
    const list = partNames.map((name) => ({
      name,
      part: name,
      read: async () => Buffer.from(name),
      ...(growingParts.has(name) && { after: 'quote' as const }),
    }));
    const readNode = nodeReader(list, '/', pino({ level: 'silent' }));
    const asked = fc.subarray([...partNames, 'unheardOf']);
    await fc.assert(
      fc.asyncProperty(asked, async (parts) => {
        const channel = new FakeChannel();
        const sent = Promise.withResolvers<void>();
        const on = {
          ...partsThat(working).on,
          sent: (what: string) => void (what === 'evidence' && sent.resolve()),
          fault: sent.reject,
        };
        startConversation(channel, partsThat(working, { readNode, on }));
        const nonce = Buffer.alloc(32).toString('base64');
        const challenge = {
          type: 'challenge',
          nonce,
          selection: {},
          purpose: 'attest',
          holds: [],
          within: 1,
        };
        channel.tell(parseServerMessage(JSON.stringify({ ...challenge, parts })));
        await sent.promise;
        const evidence = parseAgentMessage(String(channel.sent.at(-1)));
        assert(evidence.type === 'evidence');
        const takes = new Set<string>(parts);
        const taken = partNames.filter((name) => takes.has(name));
        assert.deepEqual(new Set(Object.keys(evidence.parts)), new Set(taken));
        const signed = taken.filter((name) => name !== 'boot' && !growingParts.has(name));
        assert.deepEqual(new Set(Object.keys(parseFacts(evidence.facts).parts ?? {})), new Set(signed));
      }),
      { numRuns: 100 },
    );
  });

  it('says what it speaks', () => {
    const channel = new FakeChannel();
    startConversation(channel, partsThat(working));
    const hello = parseAgentMessage(String(channel.sent[0]));
    assert(hello.type === 'hello');
    assert.deepEqual(hello.speaks, ['parts', 'codes', 'files', 'paths', 'supplements', 'local']);
  });

  it('is accepted by the first challenge, once, and by nothing before', () => {
    const channel = new FakeChannel();
    let accepted = 0;
    const on = { ...partsThat(working).on, accepted: () => void accepted++ };
    startConversation(channel, partsThat(working, { on }));
    channel.tell({ type: 'activate', credential: '', secret: '' });
    assert.equal(accepted, 0);
    const nonce = Buffer.alloc(32).toString('base64');
    for (let asked = 0; asked < 2; asked++)
      channel.tell({
        type: 'challenge',
        nonce,
        selection: {},
        purpose: 'attest',
        holds: [],
        parts: [],
        within: 1,
      });
    assert.equal(accepted, 1);
  });
});
