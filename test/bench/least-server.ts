import { randomBytes, verify } from 'node:crypto';
import type { WebSocket, WebSocketServer } from 'ws';
import { TimerWheel } from '../../attest-server/channel/timer-wheel.ts';
import { askedParts } from '../../attest-server/policy/aspects.ts';
import { type AttestationKey, checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import { parseSignature } from '../../attest-server/verify/tpm/signature.ts';
import {
  type Challenge,
  parseAgentMessage,
  type ServerMessage,
  type VerdictMessage,
} from '../../attest-server/wire/messages.ts';

const everyPcr = Array.from({ length: 24 }, (_, pcr) => pcr);

/**
 * The least that a server of this protocol does: it parses each answer, checks the signature, gives a verdict, and asks
 * again. It looks at nothing else, judges nothing and keeps nothing. @param answered is called once for each answer
 */
export function answerLeast(sockets: WebSocketServer, everyMs: number, answered: () => void): void {
  const timerWheel = new TimerWheel(() => performance.now());
  const say = (socket: WebSocket, message: ServerMessage) => socket.send(JSON.stringify(message));
  sockets.on('connection', (socket) => {
    let ak: AttestationKey | null = null;
    const ask = () => say(socket, freshChallenge());
    socket.on('error', () => socket.terminate());
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) return;
      const message = parseAgentMessage(data.toString('utf8'));
      if (message.type === 'hello' && message.ak !== null) {
        ak = checkAttestationKey(Buffer.from(message.ak.publicArea, 'base64'));
        ask();
      } else if (message.type === 'evidence' && ak !== null) {
        for (const { attest, signature } of message.quotes) {
          const signed = parseSignature(Buffer.from(signature, 'base64'), ak);
          if (!verify(ak.hash, Buffer.from(attest, 'base64'), ak.key, signed))
            throw new Error('a good signature was refused');
        }
        answered();
        say(socket, trusted);
        timerWheel.at(performance.now() + everyMs * (0.95 + Math.random() * 0.1), { wake: ask });
      }
    });
  });
}

const trusted: VerdictMessage = { type: 'verdict', state: 'trusted', codes: [] };

/** As the server asks for it that has the machine's log. */
function freshChallenge(): Challenge {
  return {
    type: 'challenge',
    nonce: randomBytes(32).toString('base64'),
    selection: { sha256: everyPcr },
    purpose: 'attest',
    holds: ['0'.repeat(64)],
    parts: [...askedParts],
    within: 15_000,
  };
}
