/**
 * The only program that holds the TPM: five verbs (`broker`, `verbs`) on a Unix socket of its own, and on one
 * that systemd makes for the agent (`../handed-over`). The agent asks it through `client`. It has no network code;
 * see `docs/privileges.md`.
 */

import type { Server } from 'node:net';
import { ToolError } from 'node-tpm2';
import { AgentError } from '../agent-error.ts';
import { listenGuarded } from '../guarded-socket.ts';
import { listenHandedOver } from '../handed-over.ts';
import { type Health, serveHealth } from '../health/health-socket.ts';
import type { Logger } from '../logger.ts';
import { type BrokerEvent, serve } from './broker.ts';
import type { BrokerConfig } from './config.ts';
import { openVerbs, type Verbs } from './verbs.ts';

export interface BrokerDependencies {
  readonly logger: Logger;
  /** Ends the broker, once the verb under way is answered. */
  readonly signal: AbortSignal;
  /** In which systemd says what it handed over. */
  readonly environment: NodeJS.ProcessEnv;
}

/** Ends a verb that is still under way this many milliseconds after the end was asked for. */
const graceMs = 10_000;

/**
 * The only program that holds the TPM: answers five verbs on a Unix socket until the signal. It opens no network.
 * @throws AgentError `tpm_broker`; ToolError `bad_input` if the TCTI is none
 */
export async function runBroker(
  { socket, tcti, healthSocket }: BrokerConfig,
  { logger, signal, environment }: BrokerDependencies,
): Promise<void> {
  const listening = await listenGuarded(socket, refused);
  const overdue = new AbortController();
  const verbs = openVerbs(tcti, overdue.signal);
  let own: Server | null = null;
  try {
    own = await listenHandedOver(environment, process.pid, refused);
    const report = limited(logger);
    // At once: whom systemd starts this program for waits already, and a connection that nobody takes hangs.
    const broker = serve({ shared: listening.server, own }, { verbs, on: report });
    await using health =
      healthSocket === null ? null : await serveHealth(healthSocket, () => healthOf(verbs));
    // A TPM that is missing may come; a TCTI that names none does not fix itself.
    await verbs.open().catch((error: unknown) => {
      if (!(error instanceof ToolError) || error.code === 'bad_input') throw error;
      logger.error({ code: error.code, text: error.message }, 'the TPM is not there yet');
    });
    logger.info({ code: 'listening', socket, own: own !== null, tcti }, 'the TPM broker listens');
    const lost = health === null ? listening.lost : AbortSignal.any([listening.lost, health.lost]);
    await ended(AbortSignal.any([signal, lost]));
    const timer = setTimeout(() => overdue.abort(), graceMs);
    await broker.close();
    clearTimeout(timer);
    if (!signal.aborted) lost.throwIfAborted();
    logger.info({ code: 'stopped' }, 'the TPM broker has ended');
  } finally {
    own?.close();
    listening.server.close();
    await verbs.close();
    await listening.release();
  }
}

/** A TPM that is missing is no reason to start this program again. */
function healthOf(verbs: Pick<Verbs, 'isOpen'>): Health {
  const isReady = verbs.isOpen();
  return { isAlive: true, isReady, text: isReady ? 'the TPM was found' : 'no TPM was found' };
}

/** One line a second at most for each kind of event, with how many there were: a flood must not fill the log. */
function limited(logger: Logger): (event: BrokerEvent) => void {
  const kinds = new Map<string, { count: number; at: number }>();
  return (event) => {
    const { code } = event;
    const isFault = code === 'tpm_fault';
    // Closed sets, so that the map is bounded.
    const kind = isFault ? `${code} ${event.verb} ${event.error.code}` : `${code} ${event.why}`;
    const seen = kinds.get(kind) ?? { count: 0, at: Number.NEGATIVE_INFINITY };
    kinds.set(kind, seen);
    seen.count++;
    const now = performance.now();
    if (now - seen.at < 1000) return;
    const { count } = seen;
    seen.count = 0;
    seen.at = now;
    if (!isFault) return logger.warn({ code, why: event.why, count }, 'a client was refused');
    const { verb, error } = event;
    const fields = { code, verb, cause: error.code, tool: error.tool, text: error.message, count };
    if (error.cause instanceof Error && error.tool === 'tpm-broker')
      return logger.error({ ...fields, text: error.cause.message }, 'the broker failed');
    logger.warn(fields, 'the TPM did not do what was asked');
  };
}

function refused(text: string, cause?: unknown): AgentError {
  return new AgentError('tpm_broker', text, { cause });
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
