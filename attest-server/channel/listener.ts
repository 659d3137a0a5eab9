import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import { channelBindingBytes, channelBindingLabel } from '../protocol/binding.ts';
import { limits } from '../protocol/limits.ts';
import { attestPath, subprotocol } from '../protocol/messages.ts';
import { Connection } from './connection.ts';
import type { ChannelPorts, Timings } from './ports.ts';
import { Session } from './session.ts';
import { Tally } from './tally.ts';

/** At most this many connections from one address that have proven nothing yet. */
const unprovenPerSource = 64;
/** Milliseconds that peers have for their goodbye. */
const closeWithin = 1_000;

export interface Listener {
  readonly port: number;
  /** Challenges every connected node now, or the one of this name. */
  challengeNow(node?: string): void;
  /** Ends every connection of a node that is none any more. */
  disconnect(node: string): void;
  close(): Promise<void>;
}

/** Takes agents' connections: TLS 1.3 ended here, one path, one subprotocol, bounded frames, no compression. */
export async function listen<Node>(
  options: { host: string; port: number; chain: string; key: string; timings: Timings },
  ports: ChannelPorts<Node>,
): Promise<Listener> {
  const server = createServer(
    {
      cert: options.chain,
      key: options.key,
      minVersion: 'TLSv1.3',
      handshakeTimeout: options.timings.helloWithin,
    },
    (_request, response) => {
      response.writeHead(426, { connection: 'close' }).end();
    },
  );
  server.headersTimeout = options.timings.helloWithin;
  const upgrades = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.binaryFrame,
    handleProtocols: () => subprotocol,
  });
  const open = new Set<Connection<Node>>();
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const proven = new Map<string, Connection<Node>>();
  const unproven = new Tally();

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const problem = upgradeProblem(request);
    const source = request.socket.remoteAddress ?? '';
    if (
      problem !== null ||
      !(socket instanceof TLSSocket) ||
      unproven.of(`source ${source}`) >= unprovenPerSource
    ) {
      ports.refused('malformed', problem ?? 'too many unproven connections', {
        node: null,
        address: source,
        closed: true,
      });
      // Not only our half: a peer that keeps its own open would hold the socket for ever.
      socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n', () =>
        socket.destroy(),
      );
      return;
    }
    const channel = socket.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
    upgrades.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = new Connection<Node>(
        webSocket,
        new Session(channel),
        source,
        options.timings,
        ports,
        {
          unproven,
          proven,
          changed: report,
          ended: (gone) => {
            open.delete(gone);
            report();
          },
        },
      );
      open.add(connection);
    });
  });
  const report = () =>
    ports.connections([...proven.values()].map((each) => each.session.hello?.versions.program ?? ''));

  const port = await start(server, options.host, options.port);
  return {
    port,
    challengeNow(node) {
      for (const connection of open)
        if (node === undefined || connection.name === node) connection.challenge();
    },
    disconnect(node) {
      for (const connection of open)
        if (connection.name === node) connection.close(1008, 'the enrolment was revoked');
    },
    async close() {
      for (const connection of open) connection.close(1001, 'server is going away');
      upgrades.close();
      server.closeIdleConnections();
      // Who does not go by itself is not waited for, whatever stage it stopped in.
      const impatience = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, closeWithin);
      await new Promise((resolve) => server.close(resolve));
      clearTimeout(impatience);
    },
  };
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
