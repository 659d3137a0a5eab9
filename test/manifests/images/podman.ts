import { readFile } from 'node:fs/promises';
import { run, ToolError } from 'node-tpm2/run';
import { storageOf } from '../../../manifests/images/oci-image.ts';
import type { ContainerRunner, RunningContainer, Started } from './container-runner.ts';
import type { PodContainer } from './rendered-pods.ts';

type ImageNames = Readonly<Record<PodContainer['image'], string>>;

const bounds = { timeoutMs: 120_000, maxOutputBytes: 16 * 1024 * 1024 };

/** Containers of podman and runc, out of the folder in which the images were built. */
export class Podman implements ContainerRunner {
  readonly way =
    'podman with runc: namespaces, seccomp, cgroups, capabilities and the read-only root are those of a container. Untried: a kubelet, AppArmor, and user namespaces';
  readonly #images: ImageNames;
  readonly #global: readonly string[];
  readonly #started: string[] = [];

  private constructor(folder: string, images: ImageNames) {
    this.#images = images;
    this.#global = ['--runtime', 'runc', ...storageOf(folder)];
  }

  /** @returns why this machine runs no container, where it does not */
  static async open(folder: string, images: ImageNames): Promise<Podman | string> {
    const podman = new Podman(folder, images);
    const tried = ['--network', 'none', '--read-only', '--cap-drop', 'all', '--user', '65532:0'];
    try {
      await podman.#podman(['run', '--rm', ...tried, images.agent, '--version']);
      return podman;
    } catch (error) {
      if (error instanceof ToolError) return error.message;
      throw error;
    }
  }

  async start(container: PodContainer, started: Started): Promise<RunningContainer> {
    const id = (await this.#podman(['run', '--detach', ...this.#arguments(container, started)])).trim();
    this.#started.push(id);
    return {
      log: async () => {
        // Both streams; what a program writes for people goes to the second one.
        const { stdout, stderr } = await this.#run(['logs', id]);
        return `${stdout.toString('utf8')}${stderr}`;
      },
      kill: async () => {
        await this.#podman(['kill', id]);
        await this.#podman(['wait', id]);
      },
      ended: async () => Number(await this.#podman(['wait', id])),
      exec: (argv, env = {}) =>
        this.#podman([
          'exec',
          ...Object.entries(env).flatMap(([key, value]) => ['--env', `${key}=${value}`]),
          id,
          ...argv,
        ]),
      status: async () => {
        const pid = (await this.#podman(['inspect', '--format', '{{.State.Pid}}', id])).trim();
        return readFile(`/proc/${pid}/status`, 'utf8');
      },
    };
  }

  #arguments(container: PodContainer, { volumes, env = {}, network }: Started): readonly string[] {
    const { capabilities, memory } = container;
    const [program, ...args] = container.argv;
    const drop =
      capabilities === null
        ? []
        : ['--cap-drop', 'all', ...capabilities.flatMap((one) => ['--cap-add', one])];
    const variables = { ...container.env, ...env };
    return [
      ...['--network', network === undefined ? 'host' : `ns:${network}`],
      ...['--user', `${container.user}:${container.group}`],
      ...(container.fsGroup === null ? [] : ['--group-add', String(container.fsGroup)]),
      ...(container.privileged ? ['--privileged'] : drop),
      ...(container.noNewPrivileges ? ['--security-opt', 'no-new-privileges'] : []),
      // In a pod nothing but its volumes can be written below a root that is read only.
      ...(container.readOnlyRoot ? ['--read-only', '--read-only-tmpfs=false'] : []),
      ...['--memory', memory.replace(/i$/, '').toLowerCase()],
      ...Object.entries(variables).flatMap(([key, value]) => ['--env', `${key}=${value}`]),
      ...container.mounts.flatMap(({ volume, path, readOnly }) => {
        const source = volumes[volume];
        if (source === undefined)
          throw new Error(`${container.name} mounts ${volume}, which the test does not bring`);
        return ['--volume', `${source}:${path}${readOnly ? ':ro' : ''}`];
      }),
      ...['--entrypoint', program ?? '', this.#images[container.image], ...args],
    ];
  }

  #run(args: readonly string[]) {
    const env = { PODMAN_IGNORE_CGROUPSV1_WARNING: 'yes' };
    return run('podman', [...this.#global, ...args], { ...bounds, env });
  }

  async #podman(args: readonly string[]): Promise<string> {
    return (await this.#run(args)).stdout.toString('utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#started.length > 0) await this.#podman(['rm', '--force', '--time', '5', ...this.#started]);
  }
}
