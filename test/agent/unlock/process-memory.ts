import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const pieceBytes = 4 * 1024 * 1024;

/** Where each secret is found in what a process may write to: its heaps, stacks and buffers. Names of secrets, once each. */
export async function foundInMemory(
  pid: number,
  secrets: Readonly<Record<string, Buffer>>,
): Promise<readonly string[]> {
  const forms = Object.entries(secrets).map(([name, secret]) => ({ name, all: formsOf(secret) }));
  const overlap = Math.max(...forms.flatMap(({ all }) => all.map(({ length }) => length)));
  const found = new Set<string>();
  await using memory = await open(`/proc/${pid}/mem`, 'r');
  const piece = Buffer.alloc(pieceBytes + overlap);
  for (const [, from = '', to = ''] of readFileSync(`/proc/${pid}/maps`, 'latin1').matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) rw/gm,
  ))
    for (let at = Number.parseInt(from, 16), end = Number.parseInt(to, 16); at < end; at += pieceBytes) {
      const { bytesRead } = await memory.read(piece, 0, Math.min(piece.length, end - at), at);
      const bytes = piece.subarray(0, bytesRead);
      for (const { name, all } of forms) if (all.some((form) => bytes.includes(form))) found.add(name);
    }
  return [...found];
}

/** As it is, and as text: in hex and base64, with one and with two bytes a character. */
export function formsOf(secret: Buffer): readonly Buffer[] {
  const texts = [
    secret.toString('latin1'),
    secret.toString('hex'),
    secret.toString('base64').replace(/=+$/, ''),
  ];
  return texts.flatMap((text) => [Buffer.from(text, 'latin1'), Buffer.from(text, 'utf16le')]);
}

/** Resolves once a process has stopped itself (SIGSTOP). */
export async function stopped(pid: number): Promise<void> {
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) await sleep(10);
}

/** Has Node.js run these scripts before a program. */
export function preloading(...scripts: readonly string[]): { readonly NODE_OPTIONS: string } {
  return {
    NODE_OPTIONS: scripts
      .map((script) => `--import=data:text/javascript,${encodeURIComponent(script)}`)
      .join(' '),
  };
}

/** Stops a program at its end, when all is done and nothing is given back yet. */
export const stopsAtItsEnd = "process.once('exit',()=>process.kill(process.pid,'SIGSTOP'))";

/** Keeps one copy of a key that a program hands over, as a string. */
export function keepsWhatItHandsOver(form: 'latin1' | 'hex' | 'base64'): string {
  return [
    "import { Socket } from 'node:net'",
    'const { end } = Socket.prototype',
    `Socket.prototype.end = function (bytes, ...rest) {
      if (bytes?.length === 32) globalThis.kept = bytes.toString('${form}')
      return end.call(this, bytes, ...rest)
    }`,
  ].join(';\n');
}
