import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run, start } from 'node-tpm2/run';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import type { SideInput } from './against-side.ts';
import { captured } from './bench-node.ts';
import { logs } from './boot-log.ts';
import { median } from './cpu-time.ts';
import { sized } from './sized.ts';
import { log, message, reference } from './verify-quote.ts';

/** New to old: CPU time of the same work in this tree and in that of the commit; below 1 is quicker. Of the pairs. */
export interface RatioFigures {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface AgainstOptions {
  readonly commit: string;
  readonly pairs: number;
}

const root = join(import.meta.dirname, '../..');
const program = join(import.meta.dirname, 'against-side.ts');
const messagesOfKey = { rsa2048: 16, p256: 64 } as const;
/** Of each figure, in each pair: until both sides are compiled as they are in a server that runs for days. */
const warmUp = sized(60, 1);
const turns = sized(16, 2);

/**
 * In each pair, old and new are a process each, start anew, and do the same work on the same bytes, a few milliseconds at
 * a time in turns: what slows the machine down slows both.
 */
export async function benchAgainst({ commit, pairs }: AgainstOptions): Promise<Record<string, RatioFigures>> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-against-'));
  const old = join(dir, 'old');
  try {
    await git('worktree', 'add', '--detach', old, commit);
    await symlink(join(root, 'node_modules'), join(old, 'node_modules'));
    const input = join(dir, 'input.json');
    await writeFile(input, JSON.stringify(madeInput()));
    const measured: ReadonlyMap<string, number>[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      process.stderr.write(`bench: pair ${pair} of ${pairs}\r`);
      measured.push(await ratiosOf(old, root, input));
    }
    process.stderr.write('\n');
    const names = [...(measured[0]?.keys() ?? [])];
    return Object.fromEntries(names.map((name) => [name, figuresOf(measured.map((pair) => pair.get(name)))]));
  } finally {
    await git('worktree', 'remove', '--force', old).catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
    await git('worktree', 'prune');
  }
}

/** By what was measured, the median of new to old over the bursts of one pair. */
async function ratiosOf(old: string, present: string, input: string): Promise<ReadonlyMap<string, number>> {
  const before = await Side.start(old, input);
  const after = await Side.start(present, input);
  try {
    const ratios = new Map<string, number>();
    for (const name of after.names) {
      const each: number[] = [];
      for (let turn = -warmUp; turn < turns; turn++) {
        // Who is first has the machine as the other one left it: that changes with each turn.
        const [first, second] = turn % 2 === 0 ? [before, after] : [after, before];
        const times = [await first.burst(name), await second.burst(name)] as const;
        const [one, other] = turn % 2 === 0 ? times : [times[1], times[0]];
        if (turn >= 0) each.push(other / one);
      }
      ratios.set(name, median(each));
    }
    return ratios;
  } finally {
    await Promise.all([before.end(), after.end()]);
  }
}

/** A process that does the work of one tree, a burst at a time when it is told to. */
class Side {
  readonly names: readonly string[];
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, names: readonly string[]) {
    this.#child = child;
    this.#lines = lines;
    this.names = names;
  }

  static async start(tree: string, input: string): Promise<Side> {
    const child = start(process.execPath, [program, tree, input], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (child.stdout === null) throw new Error('the process has no output');
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value } = await lines.next();
    return new Side(child, lines, JSON.parse(value ?? '[]'));
  }

  /** Milliseconds of CPU time. */
  async burst(name: string): Promise<number> {
    this.#child.stdin?.write(`${name}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the process ended while it measured ${name}`);
    return Number(value);
  }

  async end(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : null;
    this.#child.stdin?.end();
    await ended;
  }
}

function figuresOf(ratios: readonly (number | undefined)[]): RatioFigures {
  const known = ratios.map((ratio) => Number((ratio ?? Number.NaN).toFixed(4)));
  return { median: median(known), min: Math.min(...known), max: Math.max(...known) };
}

function madeInput(): SideInput {
  const messages = (kind: keyof typeof messagesOfKey) =>
    Array.from({ length: messagesOfKey[kind] }, () => {
      const { ak, nonce, channel, quote, moved } = message(kind);
      return {
        ak: ak.publicArea.toString('base64'),
        nonce: nonce.toString('base64'),
        channel: channel.toString('base64'),
        quote,
        moved,
      };
    });
  return {
    messages: { rsa2048: messages('rsa2048'), p256: messages('p256') },
    log: log.bytes?.toString('base64') ?? '',
    reference,
    logs: logs.map(([file, banks]) => {
      const bytes = recordedLog(file);
      const quoted = banks.map((bank) => ({ bank, mask: 0xffffff, values: replayedValues(bytes, bank) }));
      const boot = replayBoot(hashPart(bytes), quoted);
      return {
        name: `${file} ${banks.join(' ')}`,
        bytes: bytes.toString('base64'),
        banks: quoted.map(({ bank, values }) => ({ bank, values: values.toString('base64') })),
        reference: captureReference({ banks: quoted, boot }, captured),
      };
    }),
  };
}

async function git(...args: readonly string[]): Promise<void> {
  await run('git', ['-C', root, ...args], { timeoutMs: 60_000, maxOutputBytes: 1024 * 1024 });
}
