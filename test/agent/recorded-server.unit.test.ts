import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, it } from 'mocha';
import type { Channel, Frame } from '../../agent/channel.ts';
import { startConversation } from '../../agent/conversation.ts';
import {
  parseAgentMessage,
  parseBinaryFrame,
  parseServerMessage,
  type ServerMessage,
} from '../../attest-server/protocol/messages.ts';
import { testAuthorityCertificate } from '../attest-server/forged-tpm.ts';
import { recordedConversation } from '../swtpm-fixtures/recorded-conversation.ts';
import { isOfFirstVersion } from './first-version.ts';

/** What the agent does at present where a server of that version says what it said then. */
describe('a server of version 0.1.0, as it was recorded', () => {
  for (const [index, steps] of recordedConversation('0.1.0').entries())
    it(`is understood, and answered as it takes it (connection ${index + 1})`, async () => {
      const [first] = steps;
      assert(first !== undefined && 'channel' in first);
      const sent: Frame[] = [];
      let hear: (message: ServerMessage) => void = () => {};
      const channel: Channel = {
        binding: Buffer.from(first.channel, 'hex'),
        peer: new X509Certificate(testAuthorityCertificate),
        closed: Promise.withResolvers<never>().promise,
        listen: (onMessage) => {
          hear = onMessage;
        },
        send: (...frames) => sent.push(...frames),
        close: () => assert.fail('the conversation ended'),
      };
      const log = steps.find((step) => 'agentBinary' in step)?.agentBinary;
      const bytes = Buffer.from(log ?? '', 'base64').subarray(1);
      startConversation(channel, {
        node: 'node-1',
        program: '9.9.9',
        identity: { ek: null, ak: null, banks: ['sha256'] },
        tpm: {
          quote: async () => ({
            attest: Buffer.of(1),
            signature: Buffer.of(2),
            pcrs: { sha256: Buffer.alloc(32) },
          }),
          activateCredential: async () => Buffer.alloc(32, 1),
        },
        joinToken: null,
        saysWhatItSpeaks: false,
        readNode: async (taken) => {
          assert.deepEqual(taken, ['boot', 'userSpace']);
          return {
            bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
            host: { kernel: '6.12' },
            parts: new Map([['boot', bytes]]),
            unavailable: {},
            readGrowing: async () => new Map([['userSpace', Buffer.from('records')]]),
          };
        },
        on: {
          sent: () => {},
          verdict: () => {},
          accepted: () => {},
          refused: () => assert.fail('refused'),
          fault: () => assert.fail('no answer was given'),
        },
      });
      for (const step of steps) {
        if (!('server' in step)) continue;
        hear(parseServerMessage(step.server));
        await turn();
      }
      const texts = sent.filter((frame) => typeof frame === 'string');
      assert.deepEqual(texts.map(isOfFirstVersion), Array(texts.length).fill(true));
      const types = (agent: readonly string[]) => agent.map((text) => parseAgentMessage(text).type);
      const then = steps.flatMap((step) => ('agent' in step ? [step.agent] : []));
      assert.deepEqual(types(texts), types(then));
      const frames = sent.filter((frame) => typeof frame !== 'string');
      for (const frame of frames) assert.equal(parseBinaryFrame(frame).kind, 'bootLog');
    });
});
