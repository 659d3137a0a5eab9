import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import { z } from 'zod';

/** Runs in namespaces of its own: mounts what a container has, and becomes its program. */
const launch = z.object({
  root: z.string(),
  mounts: z.array(z.object({ source: z.string(), path: z.string(), readOnly: z.boolean() })),
  readOnlyRoot: z.boolean(),
  argv: z.array(z.string()).min(1),
  env: z.record(z.string(), z.string()),
});
const { root, mounts, readOnlyRoot, argv, env } = launch.parse(JSON.parse(process.argv[2] ?? ''));
const at = (path: string) => join(root, path);
const mount = (...args: readonly string[]) =>
  run('mount', args, { timeoutMs: 10_000, maxOutputBytes: 65_536 });

await mount('--make-rprivate', '/');
await mount('--bind', root, root);
await mount('-t', 'proc', 'proc', at('proc'));
await mount('-t', 'sysfs', '-o', 'ro', 'sysfs', at('sys'));
await mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', at('dev'));
for (const device of ['null', 'zero', 'random', 'urandom'].map((name) => `/dev/${name}`)) {
  await writeFile(at(device), '');
  await mount('--bind', device, at(device));
}
await mkdir(at('dev/shm'));
for (const file of ['/etc/hosts', '/etc/resolv.conf']) {
  await makePoint(at(file), false);
  await mount('--bind', file, at(file));
}
for (const { source, path, readOnly } of mounts) {
  await makePoint(at(path), (await stat(source)).isDirectory());
  await mount('--bind', source, at(path));
  if (readOnly) await mount('-o', 'remount,bind,ro', at(path));
}
if (readOnlyRoot) await mount('-o', 'remount,bind,ro', root);
const [program = ''] = argv;
process.execve?.(program, [...argv], env);

async function makePoint(path: string, isFolder: boolean): Promise<void> {
  if (isFolder) await mkdir(path, { recursive: true });
  else {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, '', { flag: 'a' });
  }
}
