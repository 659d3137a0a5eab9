import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { z } from 'zod';

/** Mounts what it is told in the mount namespace that it was started in, and says what the kernel shows of it. */
const steps = z.array(
  z.union([
    z.strictObject({ mkdir: z.string() }),
    z.strictObject({ mount: z.array(z.string()) }),
    /** Which mount does this path lie on? Asked at this step, after those before it. */
    z.strictObject({ ask: z.string() }),
  ]),
);
const bounds = { timeoutMs: 10_000, maxOutputBytes: 4096 };

const [folder = '', text = '[]'] = process.argv.slice(2);
const within = (path: string) => path.replaceAll('{}', folder);
const asked: { path: string; mount: number }[] = [];
for (const step of steps.parse(JSON.parse(text)))
  if ('mkdir' in step) mkdirSync(within(step.mkdir), { recursive: true });
  else if ('mount' in step) await run('mount', step.mount.map(within), bounds);
  else asked.push({ path: within(step.ask), mount: mountIdOf(within(step.ask)) });
process.stdout.write(
  JSON.stringify({ table: readFileSync(join('/proc/self', 'mountinfo')).toString('base64'), asked }),
);

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
