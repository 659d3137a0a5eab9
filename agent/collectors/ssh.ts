import { realpath } from 'node:fs/promises';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import { resolveBelow } from './below-root.ts';
import { isRunningMachine, readHostView, showsProcesses } from './host-view.ts';
import { readListening, socketText } from './listening.ts';
import { readBounded } from './read-bounded.ts';
import { findDaemons } from './ssh-daemons.ts';
import { portOf, type SshPort } from './ssh-ports.ts';
import { readSocketPorts } from './ssh-sockets.ts';
import { readSshdPorts } from './sshd-config.ts';

/** The listening sockets of the host, where SSH is configured to listen, and why some of that could not be seen. */
export interface SshFacts extends Pick<HostFacts, 'listening' | 'ssh'> {
  readonly unread: Readonly<Record<string, string>>;
}

/** Rejects only for the signal: the answer says what could not be seen. */
export async function readSsh(sysroot: string, signal?: AbortSignal): Promise<SshFacts> {
  const unread: Record<string, string> = {};
  const orSay = async <Value>(name: string, reading: Promise<Value>): Promise<Value | null> =>
    reading.catch((error: unknown) => {
      signal?.throwIfAborted();
      unread[name] ??= error instanceof Error ? error.message : String(error);
      return null;
    });
  const [listening, ofSshd, ofSystemd, ofOptions] = await Promise.all([
    orSay('listening', readListening(sysroot, signal)),
    orSay('ssh', readSshdPorts(sysroot, signal)),
    orSay('ssh', readSocketPorts(sysroot, signal)),
    orSay('ssh', readOptionPorts(sysroot, signal)),
  ]);
  if (unread.ssh === undefined) await orSay('ssh', checkIsShown(sysroot, signal));
  const ports = distinct([...(ofSshd ?? []), ...(ofSystemd ?? []), ...(ofOptions ?? [])]);
  if (ports.length > mostPorts) unread.ssh ??= `SSH is configured for more than ${mostPorts} ports`;
  const found = listening === null ? null : await orSay('ssh', findDaemons(sysroot, listening, signal));
  const of = new Set([22, ...ports.map(({ port }) => port)]);
  const own = (listening ?? []).filter(({ port }) => of.has(port));
  const ssh = {
    ports: ports.slice(0, mostPorts),
    sockets: [...new Set(own.map(socketText))].sort().slice(0, mostSockets),
    daemons: (found ?? []).map(({ name, sockets }) => ({
      name,
      sockets: sockets === null ? null : [...sockets],
    })),
  };
  if (listening === null) return { ssh, unread };
  const open = [...new Set(listening.map(({ port }) => port))].filter((port) => port > 0);
  if (open.length > limits.listening) unread.listening = `more than ${limits.listening} ports`;
  // Those of SSH are kept, whatever else there is.
  const kept = open.sort((a, b) => Number(of.has(b)) - Number(of.has(a))).slice(0, limits.listening);
  return { listening: kept.sort((a, b) => a - b), ssh, unread };
}

/** Where all that is read of SSH may stand. A pod that shows one of them less might show that nothing is open. */
const places = [
  '/etc/ssh',
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/lib/systemd/system',
  '/etc/default',
] as const;

/** @throws Error if the host may have what is not shown to this program */
async function checkIsShown(sysroot: string, signal?: AbortSignal): Promise<void> {
  if (sysroot === '/') return;
  const root = await realpath(sysroot);
  if (!(await isRunningMachine(root))) return;
  // First, since most pods do not show them: then no table of mounts is read.
  if (!(await showsProcesses(root)))
    throw new Error(
      'the processes of the host are not shown to this program: an SSH daemon may be among them',
    );
  const view = await readHostView(root, signal);
  for (const place of places) {
    const why = view?.hides(place) ?? null;
    if (why !== null) throw new Error(why);
  }
}

/** As facts may hold them. */
const mostPorts = 32;
const mostSockets = 32;

function distinct(ports: readonly SshPort[]): SshPort[] {
  const byPort = new Map<number, SshPort>();
  for (const { port, source } of ports)
    if (!byPort.has(port))
      byPort.set(port, { port, source: source.replace(/[^\x20-\x7e]/g, '?').slice(0, 256) });
  return [...byPort.values()];
}

/** Options that start scripts give a daemon, below the root. */
const optionFiles = [
  'etc/default/ssh',
  'etc/sysconfig/sshd',
  'etc/default/dropbear',
  'etc/sysconfig/dropbear',
];

/** Of `SSHD_OPTS="-p 2222"`, `OPTIONS="-o Port=2222"` and `DROPBEAR_PORT=2222`. */
async function readOptionPorts(sysroot: string, signal?: AbortSignal): Promise<readonly SshPort[]> {
  const ports: SshPort[] = [];
  for (const path of optionFiles) {
    const bytes = await readBounded(await resolveBelow(sysroot, path), 16_384, signal);
    for (const word of parseOptionPorts(bytes?.toString('latin1') ?? ''))
      ports.push({ port: word, source: `/${path}` });
  }
  return ports;
}

export function parseOptionPorts(text: string): readonly number[] {
  const lines = text.split('\n').filter((line) => !/^\s*#/.test(line));
  return lines
    .flatMap((line) => [
      ...line.matchAll(
        /(?:(?:^|[\s"'=])-[a-z]{0,8}p ?(?:\S{1,64}:)?|(?:\b|-o)Port[= ]|^DROPBEAR_PORT=["']?)(\d{1,5})\b/gi,
      ),
    ])
    .flatMap(([, digits = '']) => portOf(digits) ?? []);
}
