import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { type Daemon, startDaemon } from '../../../swtpm-fixtures/daemon.ts';
import { root } from './built-images.ts';

const launcher = join(import.meta.dirname, 'runtime-launcher.ts');
const bounds = { timeoutMs: 120_000, maxOutputBytes: 1024 * 1024 };

/** Where the set-up unpacks them. */
const program = (name: string) => join(root, 'node_modules/.cache/container-runtimes', name);

/** containerd or docker on a socket of its own, in a folder of its own, without a network. Needs root. */
export interface ContainerRuntime extends AsyncDisposable {
  readonly socket: string;
  /** Runs its command, and gives what that prints. @throws ToolError */
  command(...args: readonly string[]): Promise<string>;
}

/** With its CRI, which a kubelet asks. Images are in the namespace of Kubernetes. */
export async function openContainerd(): Promise<ContainerRuntime> {
  await using opened = new AsyncDisposableStack();
  const folder = await temporaryFolder(opened);
  const socket = join(folder, 'containerd.sock');
  const settings = [
    ...['version = 2', `root = "${folder}/root"`, `state = "${folder}/state"`],
    ...['[grpc]', `address = "${socket}"`, '[ttrpc]', `address = "${socket}.ttrpc"`],
  ];
  const file = join(folder, 'config.toml');
  await writeFile(file, settings.join('\n'));
  const command = commandOf('ctr', ['--address', socket, '--namespace', 'k8s.io']);
  await begin(opened, [program('containerd'), '--config', file], () => command('version'));
  return runtimeOf(opened, socket, command);
}

/** @param store its own, which reads no index, or that of containerd, which is the default from docker 29 on */
export async function openDocker(store: 'own' | 'containerd'): Promise<ContainerRuntime> {
  await using opened = new AsyncDisposableStack();
  const containerd = opened.use(await openContainerd());
  const folder = await temporaryFolder(opened);
  const socket = join(folder, 'docker.sock');
  const file = join(folder, 'daemon.json');
  // No container runs here, and its proxy is not unpacked.
  const features = { 'containerd-snapshotter': store === 'containerd' };
  await writeFile(file, JSON.stringify({ features, 'userland-proxy': false }));
  const command = commandOf('docker', ['--config', folder, '--host', `unix://${socket}`]);
  await begin(
    opened,
    [
      ...[program('dockerd'), '--config-file', file, '--host', `unix://${socket}`],
      ...['--containerd', containerd.socket, '--data-root', join(folder, 'root')],
      ...['--exec-root', join(folder, 'state'), '--pidfile', join(folder, 'pid')],
      ...['--bridge', 'none', '--iptables=false', '--ip6tables=false'],
    ],
    () => command('version'),
  );
  return runtimeOf(opened, socket, command);
}

function commandOf(name: string, first: readonly string[]): ContainerRuntime['command'] {
  return async (...args) => {
    const { stdout } = await run(program(name), [...first, ...args], bounds);
    return stdout.toString('utf8');
  };
}

function runtimeOf(
  opened: AsyncDisposableStack,
  socket: string,
  command: ContainerRuntime['command'],
): ContainerRuntime {
  const held = opened.move();
  return { socket, command, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** Short: sockets below it have at most 107 bytes in their path. */
async function temporaryFolder(opened: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-runtime-'));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function begin(
  opened: AsyncDisposableStack,
  argv: readonly string[],
  isReady: () => Promise<unknown>,
): Promise<void> {
  const launch = JSON.stringify({ hidden: ['/run', '/opt', '/etc/docker', '/etc/cni'], argv });
  const daemon = await startDaemon('unshare', ['--mount', '--net', '--', process.execPath, launcher, launch]);
  opened.defer(() => daemon.kill('SIGTERM'));
  await Promise.race([ready(isReady), diedEarly(daemon)]);
}

async function ready(isReady: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      await isReady();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(200);
    }
  }
}

async function diedEarly({ ended }: Daemon): Promise<never> {
  throw new Error(`the runtime ended although it should run: ${await ended}`);
}
