/**
 * The program that reads the rules of the firewall and hears when they moved. `owned-rules` says what it leaves
 * out of them; `client` is how the agent asks it, over a socket for one group alone (`guarded-socket`).
 */

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { AgentError } from '../agent-error.ts';
import { listenGuarded } from '../guarded-socket.ts';
import { serveHealth } from '../health/health-socket.ts';
import type { Logger } from '../logger.ts';
import { faultLine, longest, moved, request, rulesLine } from './messages.ts';
import { faultOf } from './netfilter-fault.ts';
import { RuleWatch } from './rule-watch.ts';
import type { Netns } from './tools.ts';

export interface NetfilterOptions extends Netns {
  readonly socket: string;
  /** Socket at which it says that it is alive; null: nowhere. */
  readonly healthSocket?: string | null;
  readonly everyMs?: number;
  readonly legacyEveryMs?: number;
}

export interface NetfilterDependencies {
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly signal: AbortSignal;
  /** Called once it can be asked; the counts are of the readings and events so far. */
  readonly onListening?: (counts: () => RuleWatch['counts']) => void;
}

const mostClients = 16;
/** A client that does not take its answer loses it. */
const takenWithinMs = 10_000;
/** Events that a client has not taken. */
const mostWaiting = 64 * 1024;

/**
 * The program that may read the rules of the firewall, until the signal. It uses no network; whoever may open its
 * socket may ask for the rules, and is told when they moved.
 * @throws AgentError `netfilter` if the socket cannot be had, or others could put another one in its place
 */
export async function runNetfilter(
  { socket, healthSocket = null, ...where }: NetfilterOptions,
  { logger, signal, onListening }: NetfilterDependencies,
): Promise<void> {
  await using health =
    healthSocket === null
      ? null
      : await serveHealth(healthSocket, () => ({ isAlive: true, isReady: true, text: 'it listens' }));
  const listening = await listenGuarded(
    socket,
    (text, cause) => new AgentError('netfilter', text, { cause }),
  );
  const { server, release } = listening;
  const lost = health === null ? listening.lost : AbortSignal.any([listening.lost, health.lost]);
  const clients = new Set<Socket>();
  const watch = new RuleWatch({
    ...where,
    logger,
    onMoved: (state) => {
      const fault = Buffer.isBuffer(state) ? null : state;
      logger.info({ code: 'moved', fault, clients: clients.size, ...watch.counts }, 'the rules are others');
      for (const client of clients)
        if (client.writableLength > mostWaiting) client.destroy();
        else client.write(moved);
    },
  });
  server.maxConnections = mostClients;
  server.on('connection', (client) => {
    clients.add(client);
    client.on('error', () => client.destroy());
    client.once('close', () => clients.delete(client));
    answer(client, watch);
  });
  logger.info({ code: 'listens', socket, netns: where.netns }, 'answers with the rules of the firewall');
  onListening?.(() => watch.counts);
  const over = AbortSignal.any([signal, lost]);
  if (!over.aborted) await once(over, 'abort');
  for (const client of clients) client.destroy();
  const closed = once(server, 'close');
  server.close();
  await closed;
  await watch[Symbol.asyncDispose]();
  await release();
  if (!signal.aborted) lost.throwIfAborted();
}

/** One request after the other; a client that sends anything else, or does not wait for its answer, is not served. */
function answer(client: Socket, watch: RuleWatch): void {
  let waiting = '';
  let isAnswering = false;
  client.setEncoding('latin1').on('data', (text: string) => {
    waiting += text;
    const end = waiting.indexOf('\n');
    if (end < 0 && waiting.length <= longest.request) return;
    if (isAnswering || waiting !== `${request}\n`) {
      client.destroy();
      return;
    }
    waiting = '';
    isAnswering = true;
    void send(client, watch).finally(() => {
      isAnswering = false;
    });
  });
}

async function send(client: Socket, watch: RuleWatch): Promise<void> {
  let frames: readonly (string | Buffer)[];
  try {
    const { bytes } = await watch.read();
    frames = [rulesLine(bytes), bytes];
  } catch (error) {
    frames = [faultLine(faultOf(error))];
  }
  if (client.destroyed) return;
  const late = setTimeout(() => client.destroy(), takenWithinMs);
  client.once('close', () => clearTimeout(late));
  // In one piece: no event comes between the line and its bytes.
  client.cork();
  for (const frame of frames) client.write(frame);
  client.uncork();
  client.write('', () => clearTimeout(late));
}
