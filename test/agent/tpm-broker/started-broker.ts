import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listenGuarded } from '../../../agent/guarded-socket.ts';
import {
  type BrokerBounds,
  type BrokerEvent,
  brokerBounds,
  serve,
} from '../../../agent/tpm-broker/broker.ts';
import { type BrokerFrame, encodeFrame, FrameReader } from '../../../agent/tpm-broker/frames.ts';
import { answerBounds } from '../../../agent/tpm-broker/messages.ts';
import type { Verbs } from '../../../agent/tpm-broker/verbs.ts';

/** A broker in this process, in front of verbs that the test gives. */
export interface StartedBroker extends AsyncDisposable {
  readonly socket: string;
  /** Of the agent alone. */
  readonly own: string;
  readonly events: readonly BrokerEvent[];
}

export async function startBroker(
  run: Verbs['run'],
  bounds: Partial<BrokerBounds> = {},
): Promise<StartedBroker> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-broker-'));
  const socket = join(folder, 'tpm.sock');
  const events: BrokerEvent[] = [];
  const { server, release } = await listenGuarded(socket, (text, cause) => new Error(text, { cause }));
  const ownSocket = join(folder, 'agent.sock');
  const own = createServer();
  await new Promise<void>((resolve) => own.listen(ownSocket, resolve));
  const parts = { verbs: { run }, on: (event: BrokerEvent) => events.push(event) };
  const broker = serve(
    { shared: server, own },
    { ...parts, bounds: Object.assign({ ...brokerBounds }, bounds) },
  );
  return {
    socket,
    own: ownSocket,
    events,
    async [Symbol.asyncDispose]() {
      await broker.close();
      await release();
      await rm(folder, { recursive: true });
    },
  };
}

/** A client that says what it likes. */
export interface RawClient extends AsyncDisposable {
  readonly socket: Socket;
  /** The next frame; null where the broker closed instead. */
  next(): Promise<BrokerFrame | null>;
  ask(request: object): Promise<unknown>;
  readonly closed: Promise<void>;
}

export async function connectRaw(path: string): Promise<RawClient> {
  const socket = connect(path);
  const reader = new FrameReader(answerBounds);
  let wake = () => {};
  let isClosed = false;
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      isClosed = true;
      resolve();
      wake();
    });
  });
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    wake();
  });
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const next = async () => {
    for (;;) {
      const frame = reader.next();
      if (frame !== null || isClosed) return frame;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    socket,
    next,
    closed,
    async ask(request) {
      socket.write(encodeFrame('json', Buffer.from(JSON.stringify(request))));
      const frame = await next();
      return frame === null ? null : JSON.parse(frame.payload.toString());
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await closed;
    },
  };
}
