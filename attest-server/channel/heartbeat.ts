import type { WebSocket } from 'ws';

const everyMs = 30_000;

/** Pings, and ends a connection whose peer did not answer the last one. Ends with the connection. */
export function keepHeartbeat(webSocket: WebSocket, mayPing: () => boolean): void {
  let isAlive = true;
  webSocket.on('pong', () => {
    isAlive = true;
  });
  const beat = setInterval(() => {
    if (!isAlive) webSocket.terminate();
    isAlive = false;
    if (mayPing()) webSocket.ping();
  }, everyMs);
  webSocket.once('close', () => clearInterval(beat));
}
