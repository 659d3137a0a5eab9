import { lstat, open } from 'node:fs/promises';
import { SocketAddress } from 'node:net';
import { endianness } from 'node:os';
import { join } from 'node:path';

/** A TCP socket that listens. */
export interface ListeningSocket {
  /** As people write it: `0.0.0.0`, `::1` */
  readonly address: string;
  readonly port: number;
  readonly inode: string;
}

/**
 * TCP sockets that listen in the host's network, that of process 1: a pod has another one. A recorded tree may hold the
 * tables in proc/net itself, where a running kernel has a link to the network of whoever looks.
 * @throws Error if the host's table is not there or may not be read, or is in no form of Linux
 */
export async function readListening(
  sysroot: string,
  signal?: AbortSignal,
): Promise<readonly ListeningSocket[]> {
  const folder = await hostNetwork(sysroot);
  const [first, second] = await Promise.all([
    readTable(join(folder, 'tcp'), 4, signal),
    readTable(join(folder, 'tcp6'), 6, signal),
  ]);
  // Without IPv6 the kernel has one table; without any there is nothing to go by.
  if (first === null) throw new Error(`${join(folder, 'tcp')} is not there`);
  return [...first, ...(second ?? [])];
}

async function hostNetwork(sysroot: string): Promise<string> {
  const ofInit = join(sysroot, 'proc/1/net');
  const recorded = join(sysroot, 'proc/net');
  const isThere = await lstat(join(sysroot, 'proc/1')).then(
    () => true,
    () => false,
  );
  if (isThere) return ofInit;
  const isFolder = await lstat(recorded).then(
    (found) => found.isDirectory(),
    () => false,
  );
  return isFolder ? recorded : ofInit;
}

/** A busy node has ten thousands of connections, at 150 bytes each; those that listen come first. */
const mostBytes = 16 * 1024 * 1024;
const mostSockets = 8192;

/** Null if there is no such table. */
async function readTable(
  path: string,
  family: 4 | 6,
  signal?: AbortSignal,
): Promise<ListeningSocket[] | null> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  try {
    const table = new ListeningTable(path, family);
    const chunk = Buffer.alloc(65_536);
    for (let bytes = 0; ; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(chunk, 0, chunk.length);
      if (bytesRead === 0) return table.end();
      bytes += bytesRead;
      if (bytes > mostBytes) throw new RangeError(`${path} is longer than ${mostBytes} bytes`);
      table.add(chunk.toString('latin1', 0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** The sockets of one table of the kernel: /proc/net/tcp or tcp6. @throws Error naming the line and field */
export function parseListening(text: string, family: 4 | 6): readonly ListeningSocket[] {
  const table = new ListeningTable(family === 4 ? 'tcp' : 'tcp6', family);
  table.add(text);
  return table.end();
}

/** Takes a table piece by piece, and keeps what listens. */
class ListeningTable {
  readonly #path: string;
  readonly #family: 4 | 6;
  readonly #found: ListeningSocket[] = [];
  #rest = '';
  #line = 0;

  constructor(path: string, family: 4 | 6) {
    this.#path = path;
    this.#family = family;
  }

  add(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > longestLine) throw this.#fault('is too long');
    for (const line of lines) this.#take(line);
  }

  end(): ListeningSocket[] {
    if (this.#rest !== '') throw this.#fault('is cut short');
    // A table needs its heading: an empty file would mean that nothing listens.
    if (this.#line === 0) throw this.#fault('is not there');
    return this.#found;
  }

  #take(line: string): void {
    this.#line++;
    if (this.#line === 1) {
      if (!/^ +sl +local_address /.test(line)) throw this.#fault('is no heading');
      return;
    }
    const fields = line.trim().split(/ +/, 10);
    const [, local = '', , state = ''] = fields;
    if (!/^[0-9A-F]{2}$/.test(state)) throw this.#fault('has no state');
    if (state !== listens) return;
    const digits = this.#family === 4 ? 8 : 32;
    const [address = '', port = ''] = local.split(':');
    if (address.length !== digits || !/^[0-9A-F]+$/.test(address) || !/^[0-9A-F]{4}$/.test(port))
      throw this.#fault('has no local address');
    const inode = fields[9] ?? '';
    if (!/^\d{1,20}$/.test(inode)) throw this.#fault('has no inode');
    if (this.#found.length >= mostSockets) throw this.#fault(`is one socket more than ${mostSockets}`);
    this.#found.push({ address: addressOf(address), port: Number.parseInt(port, 16), inode });
  }

  #fault(what: string): Error {
    return new Error(`${this.#path}: line ${this.#line} ${what}`);
  }
}

/** TCP_LISTEN */
const listens = '0A';
const longestLine = 1024;

/** The kernel prints words of 32 bits as they stand in its memory. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

/** `0.0.0.0:22`, `[::]:22` */
export function socketText({ address, port }: Pick<ListeningSocket, 'address' | 'port'>): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
