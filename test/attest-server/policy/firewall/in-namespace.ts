import { once } from 'node:events';
import { createServer, connect as openSocket } from 'node:net';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { readRules } from '../../../../agent/netfilter/read-rules.ts';
import { nftOutput } from '../../../../attest-server/wire/firewall.ts';

/** Does in the network namespace that it was started in what its parent asks for, and ends with its parent. */
const question = z.union([
  /** A program with its arguments. */
  z.strictObject({ run: z.array(z.string()).min(1) }),
  /** A shell script. */
  z.strictObject({ sh: z.string() }),
  /** What the real programs print of the rules. */
  z.strictObject({ show: z.literal(true) }),
  /** What an agent sends of them. */
  z.strictObject({ read: z.literal(true) }),
  /** Somebody answers at each of these ports. */
  z.strictObject({ listen: z.array(z.int()) }),
  /** Whether a connection by TCP is answered. `witness` answers at the same machine, whatever its rules. */
  z.strictObject({
    reach: z.strictObject({ address: z.string(), port: z.int(), witness: at().nullable() }),
  }),
]);
export type Question = z.infer<typeof question>;

function at() {
  return z.strictObject({ address: z.string(), port: z.int() });
}

/** The usual lock of iptables-legacy is a file of root's, and nobody else changes rules here. */
const env = { XTABLES_LOCKFILE: '/dev/null' };
const bounds = { timeoutMs: 60_000, maxOutputBytes: 16 * 1024 * 1024, env };

process.on('message', (message) => {
  void answer(question.parse(message)).then(
    (said) => process.send?.({ said }),
    (error: unknown) => process.send?.({ fault: error instanceof Error ? error.message : String(error) }),
  );
});
process.once('disconnect', () => process.exit());
process.send?.({ said: 'ready' });

async function answer(asked: Question): Promise<unknown> {
  if ('run' in asked) {
    const [program = '', ...args] = asked.run;
    return (await run(program, args, bounds)).stdout.toString('utf8');
  }
  if ('sh' in asked) return (await run('bash', ['-euc', asked.sh], bounds)).stdout.toString('utf8');
  if ('show' in asked) return shown();
  if ('read' in asked) return (await readRules({ netns: null })).bytes.toString('utf8');
  if ('reach' in asked) return isReached(asked.reach);
  for (const port of asked.listen) await once(createServer((one) => one.end()).listen(port), 'listening');
  return null;
}

async function shown(): Promise<unknown> {
  const { nftables } = nftOutput.parse(JSON.parse((await printed('nft', '-j', 'list', 'ruleset')) ?? ''));
  return {
    version: 1,
    nft: nftables,
    iptables: { ip: await printed('iptables-nft-save'), ip6: await printed('ip6tables-nft-save') },
    legacy: { ip: await printed('iptables-legacy-save'), ip6: await printed('ip6tables-legacy-save') },
    owned: [],
  };
}

async function printed(program: string, ...args: readonly string[]): Promise<string | null> {
  const text = (await run(program, args, bounds)).stdout.toString('utf8');
  return text === '' ? null : text;
}

interface At {
  readonly address: string;
  readonly port: number;
}

/** False where nothing comes back for two seconds, or the witness answered three times what was asked later. */
async function isReached({ witness, ...who }: At & { readonly witness: At | null }): Promise<boolean> {
  const first = connected(who);
  const silent = async () => {
    if (witness === null) return first.done;
    for (let times = 0; times < 3; times++) if (!(await connected(witness).done)) return first.done;
    return false;
  };
  const is = await Promise.race([first.done, silent()]);
  first.end();
  return is;
}

function connected({ address, port }: At): { readonly done: Promise<boolean>; end(): void } {
  const socket = openSocket({ host: address, port });
  socket.setTimeout(2_000);
  const done = new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    for (const no of ['error', 'timeout', 'close'] as const) socket.once(no, () => resolve(false));
  });
  void done.then(() => socket.destroy());
  return { done, end: () => socket.destroy() };
}
