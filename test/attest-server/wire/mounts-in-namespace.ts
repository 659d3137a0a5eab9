import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { z } from 'zod';

/**
 * Mounts what it is told in the mount namespace that it was started in, and says what the kernel shows of it. Before the
 * next one of several it takes away what the one before has mounted.
 */
const tasks = z.array(
  z.strictObject({
    /** Stands for `{}`. */
    folder: z.string(),
    steps: z.array(
      z.union([
        z.strictObject({ mkdir: z.string() }),
        /** The target is the last word. */
        z.strictObject({ mount: z.array(z.string()) }),
        /** Which mount does this path lie on? Asked at this step, after those before it. */
        z.strictObject({ ask: z.string() }),
      ]),
    ),
  }),
);
const bounds = { timeoutMs: 10_000, maxOutputBytes: 4096 };

const [text = '[]'] = process.argv.slice(2);
const said: object[] = [];
let mounted: string[] = [];
for (const { folder, steps } of tasks.parse(JSON.parse(text))) {
  if (mounted.length > 0) await run('umount', ['-n', '-l', '--', ...mounted.toReversed()], bounds);
  mounted = [];
  const within = (path: string) => path.replaceAll('{}', folder);
  const asked: { path: string; mount: number }[] = [];
  for (const step of steps)
    if ('mkdir' in step) mkdirSync(within(step.mkdir), { recursive: true });
    else if ('mount' in step) {
      await run('mount', step.mount.map(within), bounds);
      mounted.push(within(step.mount.at(-1) ?? ''));
    } else asked.push({ path: within(step.ask), mount: mountIdOf(within(step.ask)) });
  said.push({ table: readFileSync(join('/proc/self', 'mountinfo')).toString('base64'), asked });
}
process.stdout.write(JSON.stringify(said));

/** By an open descriptor (proc_pid_fdinfo(5)): the kernel's own answer. */
function mountIdOf(path: string): number {
  const descriptor = openSync(path, 'r');
  try {
    const info = readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8');
    return Number(/^mnt_id:\s*(\d+)$/m.exec(info)?.[1]);
  } finally {
    closeSync(descriptor);
  }
}
