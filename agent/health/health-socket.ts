import { once } from 'node:events';
import { AgentError } from '../agent-error.ts';
import { listenGuarded } from '../guarded-socket.ts';

/** A program's own word on its state. It is alive although it cannot do its work: a restart would fix nothing then. */
export interface Health {
  readonly isAlive: boolean;
  readonly isReady: boolean;
  /** One line: why. */
  readonly text: string;
}

export interface HealthSocket extends AsyncDisposable {
  /** Aborts, with what is to be said of it, where nobody finds the socket any more. */
  readonly lost: AbortSignal;
}

const mostClients = 8;
/** Milliseconds for who does not take his answer. */
const takenWithin = 2_000;

/**
 * Sends each client its health as one line of JSON, and closes. It reads nothing from the client.
 * @throws AgentError `health` if the socket cannot be had, or others could put another one in its place
 */
export async function serveHealth(path: string, look: () => Health): Promise<HealthSocket> {
  const { server, lost, release } = await listenGuarded(
    path,
    (text, cause) => new AgentError('health', text, { cause }),
  );
  server.maxConnections = mostClients;
  server.on('connection', (client) => {
    const late = setTimeout(() => client.destroy(), takenWithin);
    client.on('error', () => client.destroy());
    client.once('close', () => clearTimeout(late));
    client.resume();
    const { isAlive, isReady, text } = look();
    client.end(`${JSON.stringify({ isAlive, isReady, text: text.slice(0, 256) })}\n`, () =>
      client.destroySoon(),
    );
  });
  // Probes alone keep no program that ends.
  server.unref();
  return {
    lost,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      await closed;
      await release();
    },
  };
}
