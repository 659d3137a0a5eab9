import { once } from 'node:events';
import { join } from 'node:path';
import { start, startError } from 'node-tpm2/run';
import { faultOf, NetfilterFault } from './netfilter-fault.ts';
import { inNamespace, type Netns, readProc } from './tools.ts';

export interface MonitorEvents {
  /** The kernel's events come from now on: what was before must be read. */
  ready(): void;
  line(text: string): void;
}

/** The longest event; a longer one counts as unreadable. */
const longestLine = 1024 * 1024;

/**
 * One `nft monitor`, until it ends, which it does not by itself: it dies with this process too.
 * @returns why it ended; null if the signal ended it
 */
export async function runMonitor(
  where: Netns,
  events: MonitorEvents,
  signal: AbortSignal,
): Promise<NetfilterFault | null> {
  if (signal.aborted) return null;
  const [program, args] = inNamespace(where, 'nft', ['-j', 'monitor']);
  // Without it nothing ends the monitor of a program that was killed.
  const child = start('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(where.env && { env: where.env }),
  });
  const { promise: failed, resolve: fail } = Promise.withResolvers<NetfilterFault>();
  child.once('error', (cause) => fail(faultOf(startError('setpriv', cause))));
  const closed = once(child, 'close').then(
    () => null,
    () => null,
  );
  const kill = () => child.kill('SIGKILL');
  signal.addEventListener('abort', kill, { once: true });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < 1024) said += text.slice(0, 1024);
  });
  let lost = false;
  const take = (text: string) => {
    // What nft writes when the kernel had no room for more events (ENOBUFS).
    if (/^# ERROR/.test(text)) {
      lost = true;
      kill();
    } else if (text !== '') events.line(text);
  };
  let rest = '';
  let isTooLong = false;
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      take(isTooLong ? '…' : line);
      isTooLong = false;
    }
    if (rest.length > longestLine) {
      rest = '';
      isTooLong = true;
    }
  });
  const listens = child.pid === undefined ? null : untilItListens(where, child.pid, closed);
  listens?.then((isSo) => {
    if (isSo && !signal.aborted) events.ready();
  });
  const fault = await Promise.race([failed, closed]);
  signal.removeEventListener('abort', kill);
  await listens;
  if (signal.aborted) return null;
  if (fault !== null) return fault;
  if (lost) return new NetfilterFault('failed', 'nft monitor lost events of the kernel');
  const text = said.trim().split('\n')[0] ?? '';
  return faultOf(new Error(`nft monitor ended: ${text || 'it said nothing'}`));
}

/** nft does not say when it listens; the kernel's table of such sockets does. */
async function untilItListens({ proc }: Netns, pid: number, closed: Promise<unknown>): Promise<boolean> {
  let isOver = false;
  void closed.then(() => {
    isOver = true;
  });
  for (const end = performance.now() + listensWithinMs; !isOver && performance.now() < end; ) {
    if (listensIn(join(proc ?? '/proc', String(pid), 'net/netlink'), pid)) return true;
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 10))]);
  }
  return !isOver;
}

const listensWithinMs = 2_000;
/** NETLINK_NETFILTER */
const protocol = '12';

/** Columns: sk, Eth (the protocol), Pid (the port, which is the process's first one), Groups, … */
function listensIn(path: string, pid: number): boolean {
  let table: string | null;
  try {
    table = readProc(path, 1 << 20);
  } catch {
    return false;
  }
  return (table ?? '').split('\n').some((line) => {
    const [, eth, port, groups] = line.trim().split(/\s+/);
    return eth === protocol && port === String(pid) && groups !== undefined && !/^0+$/.test(groups);
  });
}
