import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const answerLimit = 64 * 1024;
const answerTimeoutMs = 10_000;

/** One connection to a socket of a software TPM; requests are answered in turn. */
export interface Wire {
  /** Sends bytes and returns the whole answer; `isWhole` says when it has arrived. */
  ask(request: Buffer, isWhole: (answer: Buffer) => boolean): Promise<Buffer>;
  close(): Promise<void>;
}

/** Connects to a Unix socket; throws ENOENT or ECONNREFUSED where nobody listens yet. */
export async function openWire(path: string): Promise<Wire> {
  const socket = await connected(path);
  let queue: Promise<unknown> = Promise.resolve();
  return {
    ask(request, isWhole) {
      const answer = queue.then(() => exchange(socket, path, request, isWhole));
      queue = answer.catch(() => undefined);
      return answer;
    },
    async close() {
      if (socket.destroyed) return;
      await new Promise<void>((resolve) => {
        socket.once('close', () => resolve());
        socket.end();
        socket.destroySoon();
      });
    },
  };
}

/** A software TPM serves one connection at a time, and few can wait: an agent's tools may be there. */
async function connected(path: string): Promise<Socket> {
  const deadline = performance.now() + answerTimeoutMs;
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      const isBusy = error instanceof Error && 'code' in error && error.code === 'EAGAIN';
      if (!isBusy || performance.now() > deadline) throw error;
      await sleep(2);
    }
  }
}

function exchange(
  socket: Socket,
  path: string,
  request: Buffer,
  isWhole: (answer: Buffer) => boolean,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let answer: Buffer = Buffer.alloc(0);
    const fail = (cause: unknown): void => {
      done();
      socket.destroy();
      reject(new Error(`the software TPM at ${path} did not answer`, { cause }));
    };
    const onData = (bytes: Buffer): void => {
      answer = Buffer.concat([answer, bytes]);
      if (answer.length > answerLimit) fail(new Error('its answer is too long'));
      else if (isWhole(answer)) {
        done();
        resolve(answer);
      }
    };
    const onClose = (): void => fail(new Error('it closed the connection'));
    const timer = setTimeout(() => fail(new Error(`${answerTimeoutMs} ms passed`)), answerTimeoutMs);
    const done = (): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('error', fail).off('close', onClose);
    };
    socket.on('data', onData).on('error', fail).on('close', onClose);
    socket.write(request);
  });
}
