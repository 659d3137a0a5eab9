import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { startDaemon } from '../../swtpm-fixtures/daemon.ts';
import { startWatchedNode } from '../agent/watch/watched-node.ts';
import { builtAgent } from './built-agent.ts';
import { memoryOf, timeOf } from './process-cost.ts';
import { sized } from './sized.ts';

/** Of all programs of one node and their children, its TPM aside. */
interface IdleFigures {
  readonly seconds: number;
  readonly challenge_every_s: number;
  readonly challenges: number;
  /** Percent of one core. */
  readonly core_percent: Readonly<Record<string, number>>;
  /** The sums of `processes`. */
  readonly together: MemorySum;
  readonly processes: Readonly<Record<string, MemorySum>>;
  /** Three that do nothing, beside them on the same Node.js: the sums. */
  readonly bare_nodes: MemorySum;
  /** The programs' sums by those. */
  readonly to_bare_nodes: { readonly rss: number; readonly pss: number };
}

/** MiB. A page that several processes share, whichever they are, counts in `rss` for each, and in `pss` by its part. */
interface MemorySum {
  readonly rss_mib: number;
  readonly pss_mib: number;
}

const every = sized(60, 2);

/** A node that is left alone, challenged every 60 s, with all that it watches. */
export async function benchIdle(
  full: boolean,
  { seconds }: { readonly seconds?: number },
): Promise<{
  readonly idle: IdleFigures;
}> {
  const lasts = seconds ?? (full ? 300 : sized(60, 3));
  const folder = await mkdtemp(join(tmpdir(), 'assay-idle-'));
  try {
    const program = await builtAgent(join(folder, 'dist'));
    await using watched = await startWatchedNode({ challengeEvery: every, program });
    const { world, machine, programs } = watched;
    await using bare = new AsyncDisposableStack();
    const bareNodes = await Promise.all([...programs.processes.keys()].map(() => idleNode(bare)));
    // What a start does once is over, and the collector of garbage had its time.
    await sleep(sized(10_000, 0));
    const times = async () =>
      new Map(
        await Promise.all(
          [...programs.processes].map(async ([name, pid]) => [name, await timeOf(pid)] as const),
        ),
      );
    const answered = () => world.verdicts.length;
    const [before, challengesBefore] = [await times(), answered()];
    const alone = watchAlone(machine.sysroot, lasts);
    await sleep(lasts * 1_000);
    const after = await times();
    const spent = (name: 'agent' | 'broker' | 'netfilter', kind: 'own' | 'children') =>
      (after.get(name)?.[kind] ?? 0) - (before.get(name)?.[kind] ?? 0);
    const percent = (ms: number) => Math.round((ms / lasts / 10) * 1_000) / 1_000;
    const names = [...programs.processes.keys()];
    const whole = names.reduce((sum, name) => sum + spent(name, 'own') + spent(name, 'children'), 0);
    const firewall = spent('netfilter', 'own') + spent('netfilter', 'children');
    const quote = (['agent', 'broker'] as const).reduce(
      (sum, name) => sum + spent(name, 'children'),
      spent('broker', 'own'),
    );
    const watch = await alone;
    const pids = [...programs.processes];
    const held = await Promise.all(pids.map(async ([name, pid]) => [name, await memoryOf(pid)] as const));
    const together = sumOf(held.map(([, memory]) => memory));
    const beside = sumOf(await Promise.all(bareNodes.map(memoryOf)));
    return {
      idle: {
        seconds: lasts,
        challenge_every_s: every,
        challenges: answered() - challengesBefore,
        core_percent: {
          whole: percent(whole),
          watch: percent(watch),
          quote: percent(quote),
          firewall: percent(firewall),
          rest: percent(whole - watch - quote - firewall),
        },
        together: rounded(together),
        processes: Object.fromEntries(held.map(([name, memory]) => [name, rounded(memory)])),
        bare_nodes: rounded(beside),
        to_bare_nodes: { rss: ratio(together.rss, beside.rss), pss: ratio(together.pss, beside.pss) },
      },
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type ProcessMemory = Awaited<ReturnType<typeof memoryOf>>;

function sumOf(memories: readonly ProcessMemory[]): ProcessMemory {
  const of = (kind: keyof ProcessMemory) => memories.reduce((sum, memory) => sum + memory[kind], 0);
  return { rss: of('rss'), pss: of('pss') };
}

const round = (mib: number) => Math.round(mib * 10) / 10;
const rounded = ({ rss, pss }: ProcessMemory): MemorySum => ({ rss_mib: round(rss), pss_mib: round(pss) });
const ratio = (ours: number, theirs: number) => Math.round((ours / theirs) * 100) / 100;

async function idleNode(ends: AsyncDisposableStack): Promise<number> {
  const daemon = await startDaemon(process.execPath, ['--eval', 'setInterval(() => {}, 1e6)']);
  ends.defer(() => daemon.kill('SIGKILL'));
  return daemon.pid;
}

/** Milliseconds that the same watching takes in a process of its own. */
async function watchAlone(sysroot: string, seconds: number): Promise<number> {
  const program = join(import.meta.dirname, 'watch-alone.ts');
  const { stdout } = await run(process.execPath, [program, sysroot, String(seconds)], {
    timeoutMs: (seconds + 60) * 1_000,
    maxOutputBytes: 1_000,
  });
  return Number(stdout.toString());
}
