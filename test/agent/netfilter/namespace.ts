import { readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, start } from 'node-tpm2/run';

/** A network namespace with real tables of its own, which ends with this object. */
export interface Namespace extends AsyncDisposable {
  /** Its file. */
  readonly netns: string;
  /** Runs a shell script in it. @throws ToolError where a command fails */
  sh(script: string): Promise<string>;
}

export async function openNamespace(): Promise<Namespace> {
  const child = start('unshare', ['--net', '--', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const closed = new Promise((resolve) => child.once('close', resolve));
  const netns = `/proc/${child.pid}/ns/net`;
  const own = await readlink('/proc/self/ns/net');
  while ((await readlink(netns).catch(() => own)) === own) await sleep(5);
  const sh = async (script: string) => {
    const options = { timeoutMs: 60_000, maxOutputBytes: 1 << 24 };
    const { stdout } = await run('nsenter', [`--net=${netns}`, '--', 'bash', '-euc', script], options);
    return stdout.toString();
  };
  await sh('ip link set lo up');
  return {
    netns,
    sh,
    async [Symbol.asyncDispose]() {
      child.stdin?.destroy();
      await closed;
    },
  };
}

export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 60_000,
): Promise<void> {
  for (const end = performance.now() + withinMs; !(await isSo()); await sleep(10))
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
}
