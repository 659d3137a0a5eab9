import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { channelBindingBytes, channelBindingLabel } from '../../attest-server/wire/binding.ts';
import {
  attestPath,
  binaryFrame,
  parseServerMessage,
  subprotocol,
} from '../../attest-server/wire/messages.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import type { Addresses } from './measured-server.ts';
import { type Machine, model } from './population.ts';

/** An open connection to a measured server. */
export interface Link {
  readonly socket: WebSocket;
  readonly tls: TLSSocket;
}

/** Everything that one load process simulates. */
export interface Fleet extends AsyncDisposable {
  /** Answers so far: verdicts, or echoes. */
  answers(): number;
}

/** Connections that are being opened at a time: the server bounds those that have proven nothing yet. */
const atOnce = 16;

/**
 * Connects each machine; every challenge is answered with a real signature. Resolves when each has its first verdict.
 * @param moving PCR 10 is another one in each answer, as where IMA measures
 */
export async function connectAgents(
  server: Addresses,
  machines: readonly Machine[],
  moving = false,
): Promise<Fleet> {
  let answers = 0;
  const links = await inTurn(machines, async (machine, index) => {
    const link = await open(server, index);
    await new Promise<void>((resolve, reject) => {
      const answered = (state: string) => {
        if (state !== 'trusted') reject(new Error(`${machine.name} is ${state}`));
        answers += 1;
        resolve();
      };
      attest(link, machine, answered, (evidence) => link.socket.send(evidence), moving ? moved : still);
      link.socket.once('close', (code) => reject(new Error(`${machine.name} was closed with ${code}`)));
    });
    return link;
  });
  return fleet(links, () => answers);
}

/** The agent's side of the protocol, without a TPM's latency. */
export function attest(
  { socket, tls }: Link,
  { name, tpm }: Machine,
  answered: (state: string) => void,
  answer: (evidence: string) => void = (evidence) => socket.send(evidence),
  valuesOf: (count: number) => Buffer = still,
): void {
  const channel = tls.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
  const hello = JSON.stringify(tpm.hello(name));
  const occasion = { node: name, hello, channel, bootLog: model.log };
  let count = 0;
  const quote = (signed: Buffer) => madeQuote(tpm.ak, signed, { pcrs: { sha256: valuesOf(count++) } });
  socket.on('message', (data: Buffer) => {
    const message = parseServerMessage(data.toString('utf8'));
    if (message.type === 'challenge') {
      if (message.holds.length === 0) socket.send(binaryFrame('part', model.log));
      answer(JSON.stringify(tpm.evidence(message, occasion, { quote })));
    } else answered(message.type === 'verdict' ? message.state : message.type);
  });
  socket.send(hello);
}

const still = () => model.sha256;

function moved(count: number): Buffer {
  const values = Buffer.from(model.sha256);
  values.writeUInt32BE(count, 32 * 10);
  return values;
}

/**
 * Sends a message of the size of evidence over each of `count` connections, and again `everyMs` after its echo.
 * @param once sent before all others, in a binary frame, which has no echo: as an agent's boot log
 */
export async function connectEchoes(
  server: Addresses,
  count: number,
  message: string,
  everyMs: number,
  once: Buffer = Buffer.alloc(0),
): Promise<Fleet> {
  let answers = 0;
  const links = await inTurn(Array.from({ length: count }), async (_, index) => {
    const link = await open(server, index);
    link.socket.on('message', () => {
      answers += 1;
      if (everyMs === 0) link.socket.send(message);
      else setTimeout(() => link.socket.send(message), everyMs * (0.95 + Math.random() * 0.1));
    });
    if (once.length > 0) link.socket.send(once);
    link.socket.send(message);
    return link;
  });
  return fleet(links, () => answers);
}

/** As many sources as a fleet would have: connections of one source are bounded. */
const addressOf = (index: number) => `127.0.${1 + (index >> 6)}.${1 + (index & 63)}`;

export async function open(
  { port, ca }: Pick<Addresses, 'port' | 'ca'>,
  index: number,
  localAddress = addressOf(index),
): Promise<Link> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}${attestPath}`, [subprotocol], {
    ca,
    perMessageDeflate: false,
    localAddress,
  });
  const upgraded = once(socket, 'upgrade');
  await Promise.all([once(socket, 'open'), upgraded]);
  const response: IncomingMessage = (await upgraded)[0];
  if (!(response.socket instanceof TLSSocket)) throw new Error('the connection is not TLS');
  socket.on('error', () => socket.terminate());
  return { socket, tls: response.socket };
}

async function inTurn<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let from = 0; from < items.length; from += atOnce)
    results.push(
      ...(await Promise.all(items.slice(from, from + atOnce).map((item, at) => work(item, from + at)))),
    );
  return results;
}

export function fleet(links: readonly Link[], answers: () => number): Fleet {
  return {
    answers,
    async [Symbol.asyncDispose]() {
      for (const { socket } of links) socket.terminate();
    },
  };
}
