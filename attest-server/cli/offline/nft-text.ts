import { once } from 'node:events';
import { readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, start, startError, ToolError } from 'node-tpm2/run';
import type { Reference } from '../../formats/reference.ts';
import { CliError, exit } from '../exit.ts';

/**
 * The reference with its rules as `nft -j` prints them, where somebody wrote them in nft's own words; any other as it is.
 * nft itself reads them, in a network namespace of its own, which ends with this.
 * @param file names it in an error
 * @param program nft, by its name or path
 * @throws CliError
 */
export async function withNftJson(reference: Reference, file: string, program = 'nft'): Promise<Reference> {
  const { firewall } = reference;
  if (firewall === undefined || 'chains' in firewall || firewall.nft === undefined) return reference;
  const text = firewall.nft;
  if (/^\s*\{/.test(text)) return reference;
  // Attack: the errors of nft show what it read. It joins lines that end with a backslash, also within a statement.
  if (/include[\s\\]*["']/.test(text))
    throw new CliError(`${file}: the rules include another file`, 'Write all rules into firewall.nft.');
  const nft = await readByNft(program, text).catch((cause: unknown) => {
    throw toldOf(cause, file);
  });
  return { ...reference, firewall: { ...firewall, nft } };
}

const bounds = { timeoutMs: 10_000, maxOutputBytes: 4 * 1024 * 1024 };
/** Attack: a short text with a long list, named in each of many rules. A text of the longest takes an eighth of it. */
const mostMemory = 1024 * 1024 * 1024;

/** @throws ToolError */
async function readByNft(program: string, text: string): Promise<string> {
  // It holds the namespaces: nft must be called twice, since it lists what it has committed.
  const holder = start('unshare', ['--user', '--map-root-user', '--net', '--', 'cat'], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  holder.stderr?.setEncoding('utf8').on('data', (more: string) => {
    said = `${said}${more}`.slice(0, 1024);
  });
  const ended = Promise.race([
    once(holder, 'close').then(() => new ToolError(`unshare ended: ${said.trim()}`, failed)),
    once(holder, 'error').then(([cause]) => startError('unshare', cause)),
  ]);
  try {
    await inNamespaceOf(holder.pid, ended);
    const namespaces = ['--target', String(holder.pid), '--user', '--net', '--preserve-credentials', '--'];
    const within = [`--as=${mostMemory}`, '--', 'nsenter', ...namespaces];
    const options = { ...bounds, input: Buffer.from(`${text}\n`) };
    await run('prlimit', [...within, program, '-f', '-'], options);
    const { stdout } = await run('prlimit', [...within, program, '-j', 'list', 'ruleset'], bounds);
    return stdout.toString('utf8').trim();
  } finally {
    holder.stdin?.destroy();
    holder.kill();
    await ended.catch(() => {});
  }
}

const failed = { code: 'failed', tool: 'unshare' } as const;

async function inNamespaceOf(pid: number | undefined, ended: Promise<ToolError>): Promise<void> {
  const own = await readlink('/proc/self/ns/net');
  const isApart = async () => (await readlink(`/proc/${pid}/ns/net`).catch(() => own)) !== own;
  // unshare writes the groups last: a process that enters earlier has no rights there.
  const isMapped = async () => (await readFile(`/proc/${pid}/gid_map`, 'utf8').catch(() => '')) !== '';
  for (const end = performance.now() + bounds.timeoutMs; !((await isApart()) && (await isMapped())); ) {
    const fault = await Promise.race([ended, sleep(5)]);
    if (fault !== undefined) throw fault;
    if (performance.now() > end) throw new ToolError('unshare made no namespace', failed);
  }
}

function toldOf(cause: unknown, file: string): unknown {
  if (!(cause instanceof ToolError)) return cause;
  if (cause.code === 'missing_program' || /failed to execute /.test(cause.message))
    return new CliError(
      `${file}: the rules are in the words of nft, and ${cause.tool === 'unshare' ? 'unshare' : 'nft'} is not installed here`,
      'Install nftables and util-linux, or write what "nft -j list ruleset" prints.',
      exit.error,
      cause,
    );
  if (cause.tool === 'unshare')
    return new CliError(
      `${file}: the rules are in the words of nft, and this machine gives no namespace to read them in`,
      `Import it as root, or write what "nft -j list ruleset" prints. ${cause.message}`,
      exit.error,
      cause,
    );
  return new CliError(
    `${file}: nft does not take the rules`,
    cause.message.replaceAll('/dev/stdin:', 'line '),
    exit.error,
    cause,
  );
}
