import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { channelBindingBytes, channelBindingLabel } from '../../attest-server/wire/binding.ts';
import {
  attestPath,
  binaryFrame,
  type Challenge,
  parseServerMessage,
  subprotocol,
  type VerdictMessage,
} from '../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../attest-server/wire/reasons.ts';
import type { ForgedTpm } from './forged-tpm.ts';
import { replayedValues } from './policy/made-proof.ts';
import type { TestServer } from './running-server.ts';
import { madeQuote } from './verify/made-quote.ts';

/** One connection that speaks the protocol by hand, and so can break every rule of it. */
export interface Peer {
  readonly socket: WebSocket;
  /** The TLS exporter value of this connection. */
  readonly channel: Buffer;
  send(frame: object | string | Buffer): void;
  /** The next message of the server, a binary frame as `{ binary }`; null once the connection is over. */
  receive(): Promise<Readonly<Record<string, unknown>> | null>;
  /** The next message, left where it is. */
  peek(): Promise<Readonly<Record<string, unknown>> | null>;
  /** Reads up to a challenge. */
  challenge(): Promise<Challenge>;
  /** Reads up to the verdict's state and codes. */
  verdict(): Promise<VerdictMessage>;
  /** Reads up to the error; it holds nothing but its code, and the connection ends. */
  refusal(besides?: readonly string[]): Promise<string>;
  close(): Promise<void>;
}

export interface Dialling {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly subprotocols?: readonly string[];
  readonly maxVersion?: 'TLSv1.2';
  /** Address of the loopback that the connection comes from; default 127.0.0.1. */
  readonly from?: string;
}

/** Where to connect, and whose certificate is right there. */
interface Dialled {
  readonly ca: string;
  readonly server: { readonly agentPort: number };
}

/** @throws where the server does not take the connection */
export async function dial({ ca, server }: Dialled, how: Dialling = {}): Promise<Peer> {
  const address = `wss://127.0.0.1:${server.agentPort}${how.path ?? attestPath}`;
  const socket = new WebSocket(address, [...(how.subprotocols ?? [subprotocol])], {
    ca,
    headers: { ...how.headers },
    perMessageDeflate: false,
    ...(how.from !== undefined && { localAddress: how.from }),
    ...(how.maxVersion && { minVersion: how.maxVersion, maxVersion: how.maxVersion }),
  });
  const inbox: (Readonly<Record<string, unknown>> | null)[] = [];
  let wake = () => {};
  const put = (message: Readonly<Record<string, unknown>> | null) => {
    inbox.push(message);
    wake();
  };
  socket.on('message', (data: Buffer, isBinary: boolean) =>
    put(isBinary ? { binary: data } : (JSON.parse(data.toString('utf8')) as Record<string, unknown>)),
  );
  socket.on('close', () => put(null));
  socket.on('error', () => {});
  const upgraded = once(socket, 'upgrade');
  await Promise.all([once(socket, 'open'), upgraded]);
  const [{ socket: tls }] = (await upgraded) as [IncomingMessage];
  assert(tls instanceof TLSSocket);
  const channel = tls.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));

  const peek = async () => {
    while (inbox.length === 0)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    return inbox[0] ?? null;
  };
  const receive = async () => {
    const message = await peek();
    if (message !== null) inbox.shift();
    return message;
  };
  const until = async (type: string) => {
    for (;;) {
      const message = await receive();
      assert(message !== null, `the connection ended before ${type}`);
      if (message.type === type) return message;
      assert.notEqual(message.type, 'error', `refused with ${message.code} before ${type}`);
    }
  };
  return {
    socket,
    channel,
    send: (frame) =>
      socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame)),
    receive,
    peek,
    async challenge() {
      const message = parseServerMessage(JSON.stringify(await until('challenge')));
      assert(message.type === 'challenge');
      return message;
    },
    async verdict() {
      const message = parseServerMessage(JSON.stringify(await until('verdict')));
      assert(message.type === 'verdict');
      return message;
    },
    async refusal(besides = []) {
      for (;;) {
        const message = await receive();
        assert(message !== null, 'the connection ended without an error');
        if (message.type !== 'error') continue;
        assert.deepEqual(Object.keys(message).sort(), ['code', ...besides, 'type']);
        assert.equal(await receive(), null);
        return String(message.code);
      }
    },
    async close() {
      if (socket.readyState === socket.CLOSED) return;
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    },
  };
}

/** Connects, says hello, and activates where the server asks for it; the next message is a challenge. */
export async function introduce(
  world: TestServer,
  tpm: ForgedTpm,
  node: string,
  change: { hello?: object; joinToken?: Buffer; clusterToken?: Buffer; from?: string } = {},
): Promise<Peer & { readonly hello: string }> {
  const peer = await dial(world, change.from === undefined ? {} : { from: change.from });
  const hello = JSON.stringify({
    ...tpm.hello(node),
    ...(change.joinToken && { joinToken: true }),
    ...(change.clusterToken && { clusterToken: true }),
    ...change.hello,
  });
  peer.send(hello);
  if (change.joinToken) peer.send(change.joinToken);
  if (change.clusterToken) peer.send(change.clusterToken);
  if ((await world.store.enrolment.nodeByEk(tpm.ekDigest)) !== null) return { ...peer, hello };
  const message = await peer.peek();
  if (message?.type === 'activate') peer.send(tpm.activated(message, peer.channel, hello));
  return { ...peer, hello };
}

/** Answers the next challenge as a node that booted with this log; the state of the verdict. */
export async function answerWithBoot(
  peer: Peer & { readonly hello: string },
  tpm: ForgedTpm,
  {
    node,
    bootLog,
    resetCount,
  }: { readonly node: string; readonly bootLog: Buffer; readonly resetCount: number },
): Promise<string> {
  const challenge = await peer.challenge();
  peer.send(binaryFrame('part', bootLog));
  const sha256 = replayedValues(bootLog, 'sha256');
  const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
  const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog, bootId };
  const quote = (data: Buffer) =>
    madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount, clock: BigInt(resetCount * 1000) });
  peer.send(tpm.evidence(challenge, occasion, { quote }));
  const { state } = await peer.verdict();
  return state;
}

/** A node with this TPM that has proven itself once, as honest ones do. */
export async function enrolledNode(world: TestServer, tpm: ForgedTpm, node: string): Promise<void> {
  await world.pin(node, tpm.ekDigest);
  const peer = await introduce(world, tpm, node);
  peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
  await peer.verdict();
  await peer.close();
}

/**
 * Makes the attack, and shows that the refusal has this code in the frame, in both metrics and in the audit log, and
 * that what is known of the node is what was known before.
 */
export async function assertRefused(
  world: TestServer,
  node: string,
  code: ReasonCode,
  attack: () => Promise<Peer>,
): Promise<void> {
  await written(world, node);
  const refusals = `assay_refusals_total{code="${code}"}`;
  const rejected = `assay_attestations_total{result="rejected",reason="${code}"}`;
  const before = await Promise.all([
    world.status(node),
    world.store.enrolment.node(node),
    world.metric(refusals),
    world.metric(rejected),
  ]);
  const verdicts = world.verdicts.length;
  const seen = (await world.audit()).at(-1)?.seq ?? 0;
  const peer = await attack();
  assert.equal(await peer.refusal(), code);
  const entry = await world.until(async () =>
    (await world.audit()).find((each) => each.seq > seen && each.action === 'refuse' && each.code === code),
  );
  assert.equal(entry.subject, node);
  assert.deepEqual(
    await Promise.all([
      world.status(node),
      world.store.enrolment.node(node),
      world.metric(refusals),
      world.metric(rejected),
    ]),
    [before[0], before[1], before[2] + 1, before[3] + 1],
  );
  assert.equal(world.verdicts.length, verdicts);
}

/** A verdict that says nothing new is on disk up to a second after it was said. */
async function written(world: TestServer, node: string): Promise<void> {
  await world.until(async () => {
    const stored = (await world.status(node))?.verifiedAt ?? null;
    const { items } = listed.parse(await world.call('GET', '/v1/nodes'));
    const shown = items.find(({ name }) => name === node)?.verifiedAt ?? null;
    return shown === null || (stored !== null && Date.parse(shown) === stored);
  });
}

const listed = z.object({
  items: z.array(z.object({ name: z.string(), verifiedAt: z.string().nullable() })),
});

/**
 * Makes an attack that may name nobody, and shows that each refusal of it is counted in both metrics, that the audit
 * log holds one entry of it from this address, and that the node beside it has the record and the state that it had.
 */
export async function assertTold(
  world: TestServer,
  expected: {
    readonly code: ReasonCode;
    readonly from: string;
    readonly times: number;
    readonly beside: string;
  },
  attack: () => Promise<unknown>,
): Promise<void> {
  const { code, from, times, beside } = expected;
  const series = [
    `assay_refusals_total{code="${code}"}`,
    `assay_attestations_total{result="rejected",reason="${code}"}`,
  ] as const;
  const counted = () => Promise.all(series.map((each) => world.metric(each)));
  const known = async () => [(await world.status(beside))?.state, await world.store.enrolment.node(beside)];
  const [before, unchanged] = [await counted(), await known()];
  const seen = (await world.audit()).at(-1)?.seq ?? 0;
  await attack();
  await world.until(async () => (await counted()).every((now, index) => now >= (before[index] ?? 0) + times));
  assert.deepEqual(
    await counted(),
    before.map((count) => count + times),
  );
  const entries = await world.until(async () => {
    const fresh = (await world.audit()).filter(({ seq, actor }) => seq > seen && actor === `address:${from}`);
    return fresh.length > 0 ? fresh : null;
  });
  assert.deepEqual(
    entries.map((each) => [each.action, each.code]),
    [['refuse', code]],
  );
  assert.deepEqual(await known(), unchanged);
}
