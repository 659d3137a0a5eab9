import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { hashPart } from '../../attest-server/verify/parts.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import type { SideInput } from './against-side.ts';
import { captured } from './bench-node.ts';
import { logs } from './boot-log.ts';
import { median } from './cpu-time.ts';
import { log, message, reference } from './verify-quote.ts';

/** New to old: CPU time of the same work in this tree and in that of the commit; below 1 is quicker. */
export interface RatioFigures {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Milliseconds of CPU time in quiet moments, medians. */
  readonly old_ms: number;
  readonly new_ms: number;
}

export interface AgainstOptions {
  readonly commit: string;
  readonly pairs: number;
}

const root = join(import.meta.dirname, '../..');
const side = join(import.meta.dirname, 'against-side.ts');
const messagesOfKey = { rsa2048: 16, p256: 64 } as const;

/**
 * Old and new take turns, each time in a process of its own that does the same work on the same bytes: what slows the
 * machine down slows both.
 */
export async function benchAgainst({ commit, pairs }: AgainstOptions): Promise<Record<string, RatioFigures>> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-against-'));
  const old = join(dir, 'old');
  try {
    await git('worktree', 'add', '--detach', old, commit);
    await symlink(join(root, 'node_modules'), join(old, 'node_modules'));
    const input = join(dir, 'input.json');
    await writeFile(input, JSON.stringify(madeInput()));
    const measured: (readonly [Figures, Figures])[] = [];
    for (let pair = 0; pair < pairs; pair++) {
      process.stderr.write(`bench: pair ${pair + 1} of ${pairs}\r`);
      // Who is first has the machine as the other one left it: that changes with each pair.
      const first = await measure(pair % 2 === 0 ? old : root, input);
      const second = await measure(pair % 2 === 0 ? root : old, input);
      measured.push(pair % 2 === 0 ? [first, second] : [second, first]);
    }
    process.stderr.write('\n');
    const names = Object.keys(measured[0]?.[0] ?? {});
    return Object.fromEntries(names.map((name) => [name, ratioOf(name, measured)]));
  } finally {
    await git('worktree', 'remove', '--force', old).catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
    await git('worktree', 'prune');
  }
}

/** Milliseconds by what was measured. */
type Figures = Readonly<Record<string, number>>;

async function measure(tree: string, input: string): Promise<Figures> {
  const { stdout } = await run(process.execPath, [side, tree, input], {
    timeoutMs: 120_000,
    maxOutputBytes: 64 * 1024,
  });
  return JSON.parse(stdout.toString());
}

function ratioOf(name: string, measured: readonly (readonly [Figures, Figures])[]): RatioFigures {
  const [before, after] = [0, 1].map((index) => measured.map((pair) => pair[index]?.[name] ?? Number.NaN));
  const ratios = (after ?? []).map((ms, index) => ms / (before?.[index] ?? Number.NaN));
  const rounded = (value: number) => Number(value.toFixed(4));
  return {
    median: rounded(median(ratios)),
    min: rounded(Math.min(...ratios)),
    max: rounded(Math.max(...ratios)),
    old_ms: rounded(median(before ?? [])),
    new_ms: rounded(median(after ?? [])),
  };
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
