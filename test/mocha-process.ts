import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { start } from 'node-tpm2/run';
import { z } from 'zod';

/** What `reporter.mjs` writes at the end of a run. */
const totals = z.strictObject({
  passed: z.int(),
  failed: z.int(),
  /** Titles of the tests that were skipped. */
  skips: z.array(z.string()),
  /** Titles of the tests that failed. */
  failures: z.array(z.string()),
  /** What each file took. */
  files: z.record(z.string(), z.strictObject({ ms: z.number(), cpuMs: z.number() })),
});

export type Totals = Readonly<z.infer<typeof totals>>;

export interface MochaRun {
  /** Files and options for mocha. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** `live` shows each test as it ends; `whole` prints all at once when the run ends. */
  readonly shown: 'live' | 'whole';
  /** Ends mocha, and what its tests started. */
  readonly signal: AbortSignal;
}

/** Runs mocha in a process. One that ends without its totals (a crash, an exit inside a test) counts as one failure. */
export async function runMocha({ args, env, shown, signal }: MochaRun): Promise<Totals> {
  const mocha = join(import.meta.dirname, '..', 'node_modules', 'mocha', 'bin', 'mocha.js');
  const reporter = join(import.meta.dirname, 'reporter.mjs');
  const first = join(import.meta.dirname, 'share-made.ts');
  using output = shown === 'whole' ? keptOutput() : null;
  const stream = output === null ? 'inherit' : output.fd;
  const argv = [process.execPath, mocha, '--reporter', reporter, '--require', first, ...args];
  // It leads a group, with all that its tests start, so that a signal to the group ends them too. Where this process is
  // killed, the kernel kills it.
  const child = start('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
    env,
    stdio: ['ignore', stream, stream, 'pipe'],
    detached: true,
  });
  const end = () => endGroup(child.pid);
  signal.addEventListener('abort', end, { once: true });
  let said = '';
  child.stdio[3]?.on('data', (bytes: Buffer) => {
    said += bytes.toString('utf8');
  });
  const ended = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, by) => resolve(code ?? by ?? 'no status'));
  });
  signal.removeEventListener('abort', end);
  const shownNow = output?.text() ?? '';
  process.stdout.write(shownNow);
  const read = readTotals(said);
  if (read !== null) return read;
  // Why it ended stands there, and many pages may follow before the failures are listed.
  const last = shownNow.trimEnd().split('\n').slice(-20).join('\n');
  const failure = `mocha ended with ${ended} before it was done: ${args.join(' ')}\n${last}`.trimEnd();
  console.log(failure);
  return { passed: 0, failed: 1, skips: [], failures: [failure], files: {} };
}

function endGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGTERM');
  } catch (error) {
    // It ended meanwhile.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** A file without a name, not a pipe: a program that a test left behind would hold a pipe open, and the run would not end. */
function keptOutput(): { readonly fd: number; text(): string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), 'assay-test-output-'));
  const fd = openSync(join(folder, 'output'), 'w+');
  rmSync(folder, { recursive: true });
  return {
    fd,
    text() {
      const bytes = Buffer.alloc(fstatSync(fd).size);
      return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0));
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function readTotals(said: string): Totals | null {
  try {
    return totals.parse(JSON.parse(said));
  } catch {
    return null;
  }
}
