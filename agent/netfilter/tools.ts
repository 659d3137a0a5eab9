import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { readNow } from '../watch/read-now.ts';
import { faultOf, NetfilterFault } from './netfilter-fault.ts';

/** Where rules are read, and by which programs. */
export interface Netns {
  /** A file of a network namespace (`/proc/1/ns/net`); null: this process's own. */
  readonly netns: string | null;
  /** Added to the environment of the programs: tests put others in their place. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default `/proc`. */
  readonly proc?: string;
}

/** One program, within these bounds: 50,000 rules take some 20 MB. */
const bounds = { timeoutMs: 10_000, maxOutputBytes: 32 * 1024 * 1024 };

/** The argument vector that runs a program in the namespace. */
export function inNamespace(
  { netns }: Netns,
  program: string,
  args: readonly string[],
): readonly [program: string, args: readonly string[]] {
  return netns === null ? [program, args] : ['nsenter', [`--net=${netns}`, '--', program, ...args]];
}

/** The output of the program. @throws NetfilterFault */
export async function outputOf(
  where: Netns,
  program: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const [first, others] = inNamespace(where, program, args);
  const options = { ...bounds, ...(where.env && { env: where.env }), ...(signal && { signal }) };
  const { stdout } = await run(first, others, options).catch((error: unknown) => {
    throw faultOf(error);
  });
  return stdout.toString('utf8');
}

/** A file of /proc; null if it does not exist. @throws NetfilterFault, also if it is longer than `most` bytes */
export function readProc(path: string, most: number): string | null {
  try {
    return readNow(path, most)?.toString('latin1') ?? null;
  } catch (error) {
    throw faultOf(error);
  }
}

/** Tables of iptables that are not of nf_tables. Looking here makes none, which listing one does. @throws NetfilterFault */
export async function legacyTables(
  where: Netns,
  family: 'ip' | 'ip6',
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const name = join(where.proc ?? '/proc', 'net', family === 'ip' ? 'ip_tables_names' : 'ip6_tables_names');
  const text =
    where.netns === null
      ? (readProc(name, 4096) ?? '')
      : await outputOf(where, 'cat', [name], signal).catch((fault: unknown) => {
          // The kernel has no such kind of tables.
          if (
            fault instanceof NetfilterFault &&
            /No such file or directory\b/.test(fault.message) &&
            fault.code === 'failed'
          )
            return '';
          throw fault;
        });
  return text.split('\n').filter((line) => line !== '');
}

/** Whether it is certain that this kernel has no nf_tables, by its own list of symbols; false if that is not there. */
export async function hasNoNfTables({ proc }: Netns, signal?: AbortSignal): Promise<boolean> {
  let lines = 0;
  let rest = '';
  try {
    const stream = createReadStream(join(proc ?? '/proc', 'kallsyms'), {
      encoding: 'latin1',
      highWaterMark: 1 << 18,
      ...(signal && { signal }),
    });
    for await (const chunk of stream) {
      const text: string = rest + String(chunk);
      if (text.includes('nf_tables_')) return false;
      lines += text.split('\n').length - 1;
      rest = text.slice(-64);
    }
  } catch {
    return false;
  }
  // Any kernel has many more; an empty list proves nothing.
  return lines > fewestSymbols;
}

const fewestSymbols = 1_000;
