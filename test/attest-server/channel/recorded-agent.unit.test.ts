import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Action, Session } from '../../../attest-server/channel/session.ts';
import { type Challenge, type Hello, parseServerMessage } from '../../../attest-server/protocol/messages.ts';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { measureBoot } from '../../../attest-server/verify/measured-boot.ts';
import { verify } from '../../../attest-server/verify/verify.ts';
import { recordedConversation } from '../../swtpm-fixtures/recorded-conversation.ts';

/** What the server does at present where an agent of that version says what it said then. */
describe('an agent of version 0.1.0, as it was recorded', () => {
  for (const [index, steps] of recordedConversation('0.1.0').entries())
    it(`is understood, and its evidence verifies (connection ${index + 1})`, () => {
      const [first] = steps;
      assert(first !== undefined && 'channel' in first);
      const channel = Buffer.from(first.channel, 'hex');
      const session = new Session(channel);
      const isKnown = !steps.some((step) => 'activation' in step);
      let hello: Hello | null = null;
      let challenge: Challenge | null = null;
      const logs = new Map<string, Buffer>();
      const done: string[] = [];
      const take = (actions: readonly Action[]) => {
        for (const action of actions) {
          done.push(action.do);
          if (action.do === 'identify') ({ hello } = action);
          if (action.do === 'identify' && isKnown) take(session.identified(null));
          if (action.do === 'enrol') take(session.enrolled());
          if (action.do === 'judge') proves(action);
        }
      };
      const proves = ({ evidence, nonce, parts }: Extract<Action, { do: 'judge' }>) => {
        assert(hello?.ak != null && challenge !== null && parts.boot !== undefined);
        assert(parts.userSpace !== undefined && parts.userSpace.bytes !== null);
        const { digest, bytes } = parts.boot;
        if (bytes !== null) logs.set(digest, bytes);
        const log = logs.get(digest) ?? recordedLog();
        const records = parts.userSpace.bytes;
        const proven = verify(
          {
            quotes: evidence.quotes.map(({ attest, signature, pcrs }) => ({
              attest: Buffer.from(attest, 'base64'),
              signature: Buffer.from(signature, 'base64'),
              pcrs: { sha256: Buffer.from(pcrs.sha256 ?? '', 'base64') },
            })),
            facts: evidence.facts,
            bootLog: { digest, measure: (banks) => measureBoot(log, digest, banks, records) },
          },
          {
            ak: checkAttestationKey(Buffer.from(hello.ak.publicArea, 'base64'), hello.ak.name),
            ekDigest: null,
            judgeHierarchy: true,
            binding: {
              nonce,
              channel,
              claimedChannel: Buffer.from(evidence.channel, 'base64'),
              session: { node: 'node-1', helloDigest: session.helloDigest, purpose: 'attest' },
            },
            selection: challenge.selection,
          },
        );
        assert.equal(proven.facts?.node, 'node-1');
        assert.equal(proven.boot?.digest, digest);
      };

      for (const step of steps) {
        if ('agent' in step) take(session.text(step.agent, 0));
        if ('agentBinary' in step) take(session.binary(Buffer.from(step.agentBinary, 'base64')));
        if ('activation' in step) {
          const secret = Buffer.from(step.activation, 'hex');
          take(session.identified({ credential: Buffer.of(), encrypted: Buffer.of(), secret }));
        }
        if (!('server' in step)) continue;
        const message = parseServerMessage(step.server);
        if (message.type !== 'challenge') continue;
        challenge = message;
        take(session.challenge(message, Buffer.from(message.nonce, 'base64'), 0));
      }
      const opening = isKnown ? [] : ['send', 'enrol'];
      const answers = steps.filter((step) => 'agent' in step && step.agent.includes('"evidence"')).length;
      assert.deepEqual(done, [
        'identify',
        ...opening,
        'challenge',
        ...Array.from({ length: answers }, () => ['send', 'judge']).flat(),
      ]);
    });
});

/** The boot log that the agent sent on its first connection. */
function recordedLog(): Buffer {
  for (const step of recordedConversation('0.1.0').flat())
    if ('agentBinary' in step) return Buffer.from(step.agentBinary, 'base64').subarray(1);
  throw new Error('no log was recorded');
}
