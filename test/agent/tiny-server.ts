import { once } from 'node:events';
import { createServer } from 'node:https';
import { TLSSocket } from 'node:tls';
import { type WebSocket, WebSocketServer } from 'ws';
import { attestPath, subprotocol } from '../../attest-server/wire/messages.ts';

/** A WebSocket server over TLS 1.3 on a free port of the loopback; what it says is the test's. */
export interface TinyServer extends AsyncDisposable {
  readonly port: number;
}

export async function startTinyServer(
  tls: { readonly key: string; readonly cert: string; readonly maxVersion?: 'TLSv1.2' },
  onConnection: (socket: WebSocket, channel: Buffer) => void,
): Promise<TinyServer> {
  const server = createServer({ ...tls, minVersion: tls.maxVersion ?? 'TLSv1.3' });
  const sockets = new WebSocketServer({
    server,
    path: attestPath,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(subprotocol) ? subprotocol : false),
  });
  sockets.on('connection', (socket, request) => {
    socket.on('error', () => {});
    const { socket: connection } = request;
    if (!(connection instanceof TLSSocket)) throw new Error('no TLS');
    onConnection(socket, connection.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      for (const client of sockets.clients) client.terminate();
      sockets.close();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
