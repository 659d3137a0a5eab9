import type { WebSocket } from 'ws';

/** Who keeps count of what a peer sends, and of what it does not read. */
interface Watch {
  /** Called for each ping and pong; returns whether the conversation goes on. */
  controlFrame(data: Buffer): boolean;
  /** Whether the peer reads what it is sent. */
  reads(): boolean;
  /** The last ping was not answered: the connection is given up. */
  unanswered(): void;
}

/** Whether the peer is there: it answers our pings, and we answer its own. */
export class Heartbeat {
  readonly #webSocket: WebSocket;
  readonly #watch: Watch;
  #isAlive = true;

  constructor(webSocket: WebSocket, watch: Watch) {
    this.#webSocket = webSocket;
    this.#watch = watch;
    webSocket.on('pong', (data) => {
      this.#isAlive = true;
      watch.controlFrame(data);
    });
    webSocket.on('ping', (data) => {
      if (watch.controlFrame(data) && watch.reads()) webSocket.pong(data);
    });
  }

  /** Pings; ends the connection where the last ping was not answered. */
  beat(): void {
    if (!this.#isAlive) {
      this.#watch.unanswered();
      this.#webSocket.terminate();
    }
    this.#isAlive = false;
    if (this.#watch.reads()) this.#webSocket.ping();
  }
}
