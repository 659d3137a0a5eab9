import { once } from 'node:events';
import { createServer } from 'node:net';

/** Takes a port of loopback, where no other program has it already. */
export async function occupy(port: number): Promise<AsyncDisposable> {
  const server = createServer();
  await once(server.listen(port, '127.0.0.1'), 'listening').catch(() => null);
  return {
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}
