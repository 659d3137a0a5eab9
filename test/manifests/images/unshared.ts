import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, start } from 'node-tpm2/run';
import type { ContainerRunner, RunningContainer, Started } from './container-runner.ts';
import type { PodContainer } from './rendered-pods.ts';

const launcher = join(import.meta.dirname, 'unshared-launcher.ts');
const bounds = { timeoutMs: 120_000, maxOutputBytes: 16 * 1024 * 1024 };
const path = '/usr/sbin:/usr/bin';

/** The same root file systems without a container runtime. Needs root. */
export class Unshared implements ContainerRunner {
  readonly way =
    'unshare and setpriv: user, groups, capabilities, no_new_privs, mounts, processes and the read-only root are those of the chart. Untried: the layers of the images, seccomp, the device cgroup, limits of memory, AppArmor';
  readonly #roots: Readonly<Record<PodContainer['image'], string>>;
  readonly #ending = new AsyncDisposableStack();

  /** @param roots the root file systems of this architecture, as they were built */
  constructor(roots: Readonly<Record<PodContainer['image'], string>>) {
    this.#roots = roots;
  }

  async start(container: PodContainer, { volumes, env = {}, network }: Started): Promise<RunningContainer> {
    const root = await mkdtemp(join(tmpdir(), 'assay-root-'));
    this.#ending.defer(() => rm(root, { recursive: true, force: true }));
    await run('cp', ['--archive', '--no-target-directory', this.#roots[container.image], root], bounds);
    const mounts = container.mounts.map(({ volume, path: to, readOnly }) => {
      const source = volumes[volume];
      if (source === undefined)
        throw new Error(`${container.name} mounts ${volume}, which the test does not bring`);
      return { source, path: to, readOnly };
    });
    const variables = { PATH: path, ...container.env, ...env };
    const spec = {
      ...{ root, mounts, readOnlyRoot: container.readOnlyRoot, env: variables },
      argv: [
        ...(container.noNewPrivileges ? ['/usr/bin/setpriv', '--no-new-privs'] : []),
        ...[
          '/usr/bin/unshare',
          `--root=${root}`,
          // As the Containerfile has it.
          container.image === 'tpm-trial' ? '--wd=/' : '--wd=/etc/assay',
          ...becoming(container),
          ...container.argv,
        ],
      ],
    };
    const child = start(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', '--'],
        ...(network === undefined ? [] : ['nsenter', `--net=${network}`, '--']),
        ...['unshare', '--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child', '--'],
        ...[process.execPath, launcher, JSON.stringify(spec)],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    const ended = once(child, 'close').then(([code]) => Number(code ?? 128));
    const first = () => firstProcess(child.pid ?? 0);
    this.#ending.defer(async () => {
      // With the first process of a namespace go all others. No signal of a parent's death reaches one that became another user.
      if (child.exitCode === null && child.signalCode === null) process.kill(await first(), 'SIGKILL');
      await ended;
    });
    return {
      log: async () => said,
      kill: async () => {
        process.kill(await first(), 'SIGKILL');
        await ended;
      },
      ended: () => ended,
      exec: async (argv, more = {}) => {
        const into = ['--target', String(await first()), '--mount', '--pid', '--net', '--root', '--wd'];
        // Each is set, as the runtime does it: nothing of this process' own goes in.
        const assigned = Object.entries({ ...variables, ...more }).map(([key, value]) => `${key}=${value}`);
        const { stdout } = await run(
          'nsenter',
          [...into, ...becoming(container), '/usr/bin/env', '-i', ...assigned, ...argv],
          bounds,
        );
        return stdout.toString('utf8');
      },
      status: async () => readFile(`/proc/${await first()}/status`, 'utf8'),
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#ending.disposeAsync();
  }
}

/** Options of unshare and nsenter, and a program of the image that takes from root what the chart takes from it. */
function becoming({ user, group, privileged, capabilities }: PodContainer): readonly string[] {
  if (user !== 0) return [`--setgid=${group}`, `--setuid=${user}`, '--'];
  if (privileged || capabilities === null) return ['--'];
  const left = ['-all', ...capabilities.map((one) => `+${one.toLowerCase()}`)].join(',');
  return ['--', '/usr/bin/setpriv', `--bounding-set=${left}`, '--inh-caps=-all', '--clear-groups', '--'];
}

/** The one that the new namespace began with. */
async function firstProcess(parent: number): Promise<number> {
  for (let left = 100; left > 0; left--) {
    const text = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8');
    const [pid] = text.trim().split(' ').map(Number);
    if (pid !== undefined && pid > 0) return pid;
    await sleep(50);
  }
  throw new Error(`process ${parent} started none`);
}
