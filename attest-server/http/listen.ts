import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Admission } from '../door/admission.ts';
import { tlsOfListeners } from '../wire/tls.ts';

/** PEM. */
export interface KeyAndCertificate {
  readonly key: string | Buffer;
  readonly cert: string | Buffer;
}

/** A listener that is up; to dispose of it ends open connections too. */
export interface Listening extends AsyncDisposable {
  readonly port: number;
}

export interface Address {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

/** Deadlines and sizes against callers who open a request and never finish it. */
const bounds: ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 5_000,
  // How often the three above are looked at; until the first request, admission has a deadline of its own.
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: 16 * 1024,
};
/**
 * `renew` shows another certificate to whoever connects from now on.
 * @throws Error with code `EADDRINUSE`, `EACCES`, …
 */
export async function listenSecurely(
  listener: RequestListener,
  tls: KeyAndCertificate,
  address: Address,
  admission: Admission,
): Promise<Listening & { renew(tls: KeyAndCertificate): void }> {
  const server = createSecureServer(
    { ...bounds, ...tls, ...tlsOfListeners },
    oneRequestOfStrangers(listener, admission),
  );
  const listening = await listen(server, address, admission);
  return {
    port: listening.port,
    renew: ({ key, cert }) => server.setSecureContext({ key, cert, ...tlsOfListeners }),
    [Symbol.asyncDispose]: listening[Symbol.asyncDispose],
  };
}

/** Without TLS: for metrics and probes on loopback. */
export function listenPlainly(
  listener: RequestListener,
  address: Address,
  admission: Admission,
): Promise<Listening> {
  return listen(createServer(bounds, oneRequestOfStrangers(listener, admission)), address, admission);
}

/**
 * A caller that has proven nothing gets one request per connection, so that bounding connections bounds requests.
 * Attack: thousands in one piece, each of which is parsed and answered before anybody else is heard.
 */
function oneRequestOfStrangers(listener: RequestListener, admission: Admission): RequestListener {
  const asked = new WeakSet<Socket>();
  return (message, response) => {
    const { socket } = message;
    // Its other requests came in the same piece.
    if (socket.destroyed) return;
    const visitor = admission.visitor(socket);
    if (visitor !== null) {
      if (asked.has(socket)) {
        socket.destroy();
        return;
      }
      asked.add(socket);
      visitor.asked();
    }
    listener(message, response);
  };
}

function listen(server: Server, { host, port }: Address, admission: Admission): Promise<Listening> {
  admission.guard(server);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const at = server.address();
      if (at === null || typeof at === 'string') reject(new Error('the listener has no port'));
      else resolve({ port: at.port, [Symbol.asyncDispose]: () => close(server) });
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
