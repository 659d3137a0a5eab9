import assert from 'node:assert/strict';
import { createHmac, hash, randomBytes } from 'node:crypto';
import type { WebSocket } from 'ws';
import { checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import { makeCredential } from '../../attest-server/verify/credential.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import { verify } from '../../attest-server/verify/verify.ts';
import { lengthPrefixed } from '../../attest-server/wire/binding.ts';
import {
  type Challenge,
  type EvidenceMessage,
  type Hello,
  parseAgentMessage,
  parseBinaryFrame,
} from '../../attest-server/wire/messages.ts';

const selection = { sha256: [0, 1, 2, 3, 4, 5, 6, 7] };

export function makeChallenge(): Challenge {
  const nonce = randomBytes(32).toString('base64');
  return {
    type: 'challenge',
    nonce,
    selection,
    purpose: 'attest',
    holds: [],
    parts: ['boot', 'userSpace'],
    within: 30_000,
  };
}

export interface Outcome {
  readonly token: string | null;
  readonly log: Buffer | null;
  /** The kinds of the binary frames that carried parts. */
  readonly kinds: readonly string[];
  readonly proven: Proven;
}

export interface Conversation {
  readonly done: Promise<Outcome>;
}

/** The server's half: hello, token, activation, challenge, verdict. */
export function converse(socket: WebSocket, channel: Buffer): Conversation {
  const challenge = makeChallenge();
  const wrapped = randomBytes(32);
  let hello: Hello | null = null;
  let helloDigest = '';
  let token: string | null = null;
  let bootLog: Buffer | null = null;
  const kinds: string[] = [];
  const activate = ({ ek, ak }: Hello) => {
    assert(ek !== null && ak !== null);
    const credential = makeCredential(
      Buffer.from(ek.publicArea, 'base64'),
      Buffer.from(ak.name, 'hex'),
      wrapped,
      randomBytes,
    );
    const [id, seed] = [credential.credential.toString('base64'), credential.secret.toString('base64')];
    socket.send(JSON.stringify({ type: 'activate', credential: id, secret: seed }));
  };
  const done = new Promise<Outcome>((resolve, reject) => {
    const take = (data: Buffer, isBinary: boolean) => {
      if (isBinary) {
        const { kind, payload } = parseBinaryFrame(data);
        if (kind !== 'joinToken') {
          bootLog = Buffer.from(payload);
          kinds.push(kind);
        } else token = payload.toString();
        if (kind === 'joinToken' && hello !== null) activate(hello);
        return;
      }
      const message = parseAgentMessage(data.toString());
      if (message.type === 'hello') {
        hello = message;
        helloDigest = hash('sha256', data, 'hex');
        if (!message.joinToken) activate(message);
      } else if (message.type === 'activated') {
        const parts = [Buffer.from('assay/activated/1'), channel, Buffer.from(helloDigest, 'hex')];
        assert.equal(
          message.proof,
          createHmac('sha256', wrapped).update(lengthPrefixed(parts)).digest('hex'),
        );
        socket.send(JSON.stringify(challenge));
      } else if (message.type === 'evidence') {
        const ak = hello?.ak?.publicArea ?? '';
        const proven = prove(message, { ak, helloDigest, challenge, channel, log: bootLog });
        socket.send(JSON.stringify({ type: 'verdict', state: 'trusted', codes: [] }));
        resolve({ token, log: bootLog, kinds, proven });
      }
    };
    socket.on('message', (data, isBinary) => {
      try {
        assert(Buffer.isBuffer(data));
        take(data, isBinary);
      } catch (error) {
        socket.terminate();
        reject(error);
      }
    });
  });
  return { done };
}

export function prove(
  evidence: EvidenceMessage,
  session: {
    readonly ak: string;
    readonly helloDigest: string;
    readonly challenge: Challenge;
    readonly channel: Buffer;
    /** Which it sent. */
    readonly log: Buffer | null;
  },
): Proven {
  return verify(
    {
      quotes: evidence.quotes.map(({ attest, signature, pcrs }) => ({
        attest: Buffer.from(attest, 'base64'),
        signature: Buffer.from(signature, 'base64'),
        pcrs: { sha256: Buffer.from(pcrs.sha256 ?? '', 'base64') },
      })),
      facts: evidence.facts,
      parts:
        session.log === null
          ? {}
          : { boot: { digest: evidence.parts.boot?.digest ?? '', bytes: session.log } },
    },
    {
      ak: checkAttestationKey(Buffer.from(session.ak, 'base64')),
      ekDigest: null,
      judgeHierarchy: true,
      binding: {
        nonce: Buffer.from(session.challenge.nonce, 'base64'),
        channel: session.channel,
        claimedChannel: Buffer.from(evidence.channel, 'base64'),
        session: { node: 'node-1', helloDigest: session.helloDigest, purpose: session.challenge.purpose },
      },
      selection,
    },
  );
}
