import type { WebSocket } from 'ws';

const everyMs = 30_000;

/**
 * Pings, ends a connection whose peer did not answer the last one, and answers the peer's own pings. Ends with it.
 * @param arrived told of each ping and pong; says whether the conversation goes on
 * @param reads whether the peer reads what it is sent
 */
export function keepHeartbeat(webSocket: WebSocket, arrived: () => boolean, reads: () => boolean): void {
  let isAlive = true;
  webSocket.on('pong', () => {
    isAlive = true;
    arrived();
  });
  webSocket.on('ping', (data) => {
    if (arrived() && reads()) webSocket.pong(data);
  });
  const beat = setInterval(() => {
    if (!isAlive) webSocket.terminate();
    isAlive = false;
    if (reads()) webSocket.ping();
  }, everyMs);
  webSocket.once('close', () => clearInterval(beat));
}
