import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Where Linux begins with the ports that it hands out by itself. */
const handedOut = 32_768;

/** A free port that the kernel hands out to nobody, so that a server which ends finds it free when it comes back. */
export async function lastingPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, handedOut);
    const probe = createServer().listen(port, '127.0.0.1');
    try {
      await once(probe, 'listening');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') continue;
      throw error;
    }
    probe.close();
    await once(probe, 'close');
    return port;
  }
}
