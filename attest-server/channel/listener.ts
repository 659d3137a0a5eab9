import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import type { Admission } from '../door/admission.ts';
import { type EndedConnection, silenceText } from '../formats/silence.ts';
import { channelBindingBytes, channelBindingLabel } from '../wire/binding.ts';
import { limits } from '../wire/limits.ts';
import { attestPath, subprotocol } from '../wire/messages.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { tlsOfListeners } from '../wire/tls.ts';
import { bounds } from './bounds.ts';
import { Connection } from './connection.ts';
import { LongAnswers } from './long-answers.ts';
import { OpenAnswers } from './open-answers.ts';
import type { ChannelPorts, Connected, Timings } from './ports.ts';
import { Roster } from './roster.ts';
import { Session } from './session.ts';
import { TimerWheel } from './timer-wheel.ts';

export interface AgentListener {
  readonly port: number;
  /**
   * Challenges the node of this name at once; without one all that are connected, spread over some seconds.
   * @returns whether anybody is asked; of one node, whether its agent is connected and proven
   */
  challengeNow(node?: string): boolean;
  /** How many agents are connected that proved themselves. */
  readonly proven: number;
  /** Bytes that proven connections sent, of answers that are open or being judged. */
  readonly openAnswerBytes: number;
  /** The proven connection of this node's agent; null if there is none. */
  connected(node: string): Connected | null;
  /** How the latest one ended that was proven since this server started; null while there is one, and before the first. */
  ended(node: string): EndedConnection | null;
  /** The latest one in words, whether it stands or not; null if none was proven since this server started. */
  silence(node: string): string | null;
  /** Ends every connection of a node that is no longer enrolled. */
  disconnect(node: string): void;
  /** Shows another certificate to whoever connects from now on. @throws Error if the key is not its own */
  renew(identity: ServingIdentity): void;
  /** Takes no new connection, lets verdicts under way be said, and says goodbye. */
  close(): Promise<void>;
}

/** PEM: the certificate, then its authority. */
export interface ServingIdentity {
  readonly chain: string;
  readonly key: string;
}

/** Takes agents' connections: TLS 1.3 ended here, one path, one subprotocol, bounded frames, no compression. */
export async function listen<Node>(
  options: ServingIdentity & { host: string; port: number; timings: Timings; admission: Admission },
  ports: ChannelPorts<Node>,
): Promise<AgentListener> {
  const server = createServer(
    {
      cert: options.chain,
      key: options.key,
      ...tlsOfListeners,
      // What https does by itself, but with a list each connection copies it into Buffer's shared pool and keeps that alive.
      ALPNCallback: ({ protocols }) => (protocols.includes('http/1.1') ? 'http/1.1' : undefined),
    },
    (_request, response) => {
      // RFC 9110, 15.5.22: it must name the protocol here, which also helps a client that expected the API.
      response
        .writeHead(426, { connection: 'close', upgrade: 'websocket', 'sec-websocket-protocol': subprotocol })
        .end();
    },
  );
  const { admission } = options;
  admission.guard(server, (bound, address) => {
    const text = bound === 'deadline' ? 'no request in time' : 'no request yet, and newer ones came';
    ports.refused('identity_unproven', text, {
      node: null,
      ek: null,
      address,
      closed: true,
      isProven: false,
    });
  });
  const upgrades = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // The connection answers pings itself, and counts them.
    autoPong: false,
    maxPayload: limits.binaryFrame,
    maxFragments: bounds.fragments,
    maxBufferedChunks: bounds.chunks,
    handleProtocols: () => subprotocol,
  });
  const open = new Set<Connection<Node>>();
  const sockets = new Set<Socket>();
  function forget(this: Socket): void {
    sockets.delete(this);
  }
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', forget);
  });
  const proven = new Roster<Connection<Node>>();

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // A peer that resets the connection meanwhile is its own loss; without a listener it would be ours.
    socket.on('error', giveUp);
    const address = request.socket.remoteAddress ?? '';
    const refuse = (code: ReasonCode, status: string, text: string) => {
      ports.refused(code, text, { node: null, ek: null, address, closed: true, isProven: false });
      // Not only our half: a peer that keeps its own open would hold the socket for ever.
      socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () =>
        socket.destroy(),
      );
    };
    const problem = upgradeProblem(request);
    if (isClosing) return refuse('identity_unproven', '503 Service Unavailable', 'the server is going away');
    if (problem !== null || !(socket instanceof TLSSocket))
      return refuse('malformed', '400 Bad Request', problem ?? 'not TLS');
    const visitor = admission.visitor(request.socket);
    // Its peer is gone already.
    if (visitor === null) return socket.destroy();
    const channel = socket.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
    upgrades.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = new Connection<Node>(
        { webSocket, socket, address, visitor },
        new Session(channel),
        options.timings,
        ports,
        around,
      );
      visitor.asked((bound) => connection.evict(bound));
      open.add(connection);
    });
  });
  const around = {
    timerWheel: new TimerWheel(ports.now),
    longAnswers: new LongAnswers(),
    openAnswers: new OpenAnswers(ports.now),
    proven,
    changed: () => report(),
    left: admission.left,
    ended(gone: Connection<Node>) {
      open.delete(gone);
      report();
      if (open.size === 0) emptied();
    },
  };
  let isClosing = false;
  let emptied = () => {};
  const report = () => ports.connections(proven.versions('agent').sums, proven.versions('gate').total);

  const port = await start(server, options.host, options.port);
  return {
    port,
    challengeNow(node) {
      if (node === undefined) {
        const span = Math.min(bounds.spread.most, bounds.spread.each * open.size);
        for (const connection of open) connection.challengeWithin(Math.random() * span);
        return open.size > 0;
      }
      const asked = [...open].filter(({ name }) => name === node);
      for (const connection of asked) connection.challenge();
      // Attack: a copy of its hello keeps up the look of a node that is gone.
      return proven.find(node, 'agent') !== null;
    },
    get proven() {
      return proven.versions('agent').total;
    },
    get openAnswerBytes() {
      return around.openAnswers.bytes;
    },
    connected(node) {
      const found = proven.find(node, 'agent');
      if (found === null) return null;
      const { address, since, heardAt, session } = found;
      return { address, since, heardAt, agent: session.hello?.versions.program ?? '' };
    },
    ended: (node) => proven.ended(node),
    silence(node) {
      const latest = proven.find(node, 'agent') ?? proven.ended(node);
      return latest && silenceText(latest);
    },
    disconnect(node) {
      proven.forget(node);
      for (const connection of open) if (connection.name === node) connection.release();
    },
    renew({ chain, key }) {
      server.setSecureContext({ cert: chain, key, ...tlsOfListeners });
    },
    async close() {
      isClosing = true;
      const closed = new Promise((resolve) => server.close(resolve));
      upgrades.close();
      const gone = new Promise<void>((resolve) => {
        emptied = resolve;
        if (open.size === 0) resolve();
      });
      for (const connection of open) connection.drain();
      // Do not wait for a peer that does not close by itself, in whatever stage it stopped.
      const impatience = setTimeout(() => emptied(), bounds.drain);
      await gone;
      clearTimeout(impatience);
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function giveUp(this: Duplex): void {
  this.destroy();
}

function upgradeProblem(request: IncomingMessage): string | null {
  if (request.url !== attestPath) return 'no such path';
  if (request.headers.origin !== undefined) return 'a browser may not connect here';
  const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim());
  return offered?.includes(subprotocol) ? null : `the subprotocol is ${subprotocol}`;
}

function start(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}
