import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../attest-server/wire/limits.ts';
import { backOff } from '../back-off.ts';
import type { Logger } from '../logger.ts';
import { longest, parseSaid, request } from './messages.ts';
import { faultOf, NetfilterFault } from './netfilter-fault.ts';

/** The part `firewall`, by `assay-agent netfilter`. @throws NetfilterFault, its own or `unreachable`, `malformed` */
export async function askForRules(socket: string, signal: AbortSignal): Promise<Buffer> {
  const client = await open(socket, signal);
  try {
    client.write(`${request}\n`);
    return await readAnswer(client);
  } catch (error) {
    throw signal.aborted ? new NetfilterFault('timeout', `${socket} gave no answer in time`) : faultOf(error);
  } finally {
    client.destroy();
  }
}

/**
 * Calls `onMoved` when the rules are others, until the signal. It never rejects: while nobody can be asked, it tries
 * again, and calls it once it can, because changes meanwhile were not reported.
 * @param source socket of `assay-agent netfilter`; null: this process reads the rules itself
 */
export async function watchFirewall(
  source: string | null,
  onMoved: () => void,
  signal: AbortSignal,
  logger: Pick<Logger, 'info' | 'warn'>,
): Promise<void> {
  if (signal.aborted) return;
  if (source === null) {
    // What reads rules is loaded only where nobody else does: 0.3 MiB, held for as long as the node runs.
    const { RuleWatch } = await import('./rule-watch.ts');
    if (signal.aborted) return;
    await using _watch = new RuleWatch({ netns: null, logger, onMoved });
    await once(signal, 'abort');
    return;
  }
  let isFirst = true;
  let told = '';
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const client = await open(source, signal);
      if (!isFirst) onMoved();
      isFirst = false;
      failures = 0;
      told = '';
      await takeEvents(client, onMoved);
    } catch (error) {
      const { code, message: cause } = faultOf(error);
      if (signal.aborted) return;
      if (told !== cause)
        logger.warn({ code, cause }, 'changes of the firewall are seen by the next challenge only');
      told = cause;
    }
    isFirst = false;
    await sleep(backOff(failures, Math.random), undefined, { signal }).catch(() => undefined);
  }
}

async function open(socket: string, signal: AbortSignal): Promise<Socket> {
  const client = connect({ path: socket, signal });
  try {
    await once(client, 'connect');
  } catch (cause) {
    client.destroy();
    const text = cause instanceof Error ? cause.message : String(cause);
    const next = /\bEACCES\b/.test(text)
      ? `take this user into the group of that socket (ls -l ${socket}), and start this program again`
      : 'systemctl status assay-netfilter';
    throw new NetfilterFault('unreachable', `assay-agent netfilter cannot be asked: ${text}: ${next}`, cause);
  }
  // What ends it is thrown by who reads from it.
  client.on('error', () => {});
  return client;
}

const mostBytes = limits.parts.firewall;

async function readAnswer(client: Socket): Promise<Buffer> {
  let line = Buffer.alloc(0);
  let size: number | null = null;
  const chunks: Buffer[] = [];
  let length = 0;
  const take = (chunk: Buffer, most: number): Buffer | null => {
    if (length + chunk.length > most) throw tooMuch();
    chunks.push(chunk);
    length += chunk.length;
    return length === most ? Buffer.concat(chunks, length) : null;
  };
  for await (const chunk of client) {
    if (!Buffer.isBuffer(chunk)) continue;
    if (size !== null) {
      const whole = take(chunk, size);
      if (whole !== null) return whole;
      continue;
    }
    line = Buffer.concat([line, chunk]);
    for (let end = line.indexOf(10); end >= 0; end = line.indexOf(10)) {
      const said = parseSaid(line.toString('utf8', 0, end), mostBytes);
      line = line.subarray(end + 1);
      if (said.kind === 'fault') throw said.fault;
      if (said.kind === 'moved') continue;
      size = said.bytes;
      const whole = take(line, size);
      if (whole !== null) return whole;
      break;
    }
    if (size === null && line.length > longest.answer) throw tooMuch();
  }
  throw new NetfilterFault('unreachable', 'assay-agent netfilter closed the connection before its answer');
}

function tooMuch(): NetfilterFault {
  return new NetfilterFault('malformed', 'assay-agent netfilter sent more than it said');
}

async function takeEvents(client: Socket, onMoved: () => void): Promise<void> {
  let waiting = '';
  for await (const text of client.setEncoding('utf8')) {
    const lines = (waiting + String(text)).split('\n');
    waiting = lines.pop() ?? '';
    if (waiting.length > longest.answer) throw tooMuch();
    for (const line of lines) if (parseSaid(line, mostBytes).kind === 'moved') onMoved();
  }
  throw new NetfilterFault('unreachable', 'assay-agent netfilter closed the connection');
}
