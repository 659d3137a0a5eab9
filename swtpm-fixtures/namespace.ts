import { mkdir, mkdtemp, readdir, readlink, realpath, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { type Daemon, startDaemon } from './daemon.ts';

/** A network of its own, as a machine has one: real rules of the kernel, held by a small process. */
export interface NetworkNamespace extends AsyncDisposable {
  /** Argv by which a program runs in it. */
  inside(program: string, ...args: readonly string[]): readonly [string, ...string[]];
  /** Runs nft (or iptables) in it. @throws ToolError where it fails */
  run(program: string, args: readonly string[], input?: string): Promise<string>;
  /** A folder for the sockets of programs that run in it: its path for them, and for everybody else. */
  readonly sockets: { readonly inside: string; readonly outside: string };
}

/** Of `workerRules`, as nft takes it. */
export const inputChain = ['inet', 'filter', 'input'] as const;

/** The host firewall of a worker: nothing comes in but what was asked for, and the kubelet from its own network. */
export const workerRules = `table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		iif "lo" accept
		ct state established,related accept
		ct state invalid drop
		ip saddr 10.0.0.0/8 tcp dport 10250 accept
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
	}
	chain output {
		type filter hook output priority filter; policy accept;
	}
}
`;

/**
 * Opens one with these rules (nft syntax). Root needs no more for it; others need user namespaces.
 * @returns why there is none, where this machine cannot have one
 */
export async function openNamespace(rules: string = workerRules): Promise<NetworkNamespace | string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'assay-network-')));
  const isRoot = process.getuid?.() === 0;
  const own = await readlink('/proc/self/ns/net');
  // Its network is made once its user is mapped: the kernel gives the files of /proc/net to who is root at that moment.
  const first = isRoot ? [] : ['--user', '--map-root-user', '--mount', '--', 'unshare'];
  const holder = await startDaemon('unshare', [...first, '--net', '--', 'sleep', 'infinity']);
  let said: string | null = null;
  void holder.ended.then((text) => {
    said = text.trim() || 'it ended';
  });
  const namespace = new Namespace(holder, folder, isRoot);
  try {
    // The namespace is there once the process that holds it has left ours, and its user is mapped once it sleeps.
    for (let left = 500; !(await sleeps(holder.pid, own)); left--) {
      if (said !== null || left === 0)
        throw new Error(`${said ?? 'it does not start'}${isRoot ? '' : `. ${ofOthers}`}`);
      await sleep(10);
    }
    if (!isRoot) await makeRoot(folder, holder.pid);
    await namespace.run('nft', ['-f', '-'], rules);
    return namespace;
  } catch (error) {
    await namespace[Symbol.asyncDispose]();
    return `no network namespace with rules of nft: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What this computer lacks for one; null where it lacks nothing. */
export async function whyNoNamespace(): Promise<string | null> {
  const tried = await openNamespace();
  if (typeof tried === 'string') return tried;
  await tried[Symbol.asyncDispose]();
  return null;
}

const ofOthers =
  'A user who is not root needs user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, ' +
  'kernel.unprivileged_userns_clone=1 on Debian, user.max_user_namespaces not 0';

const bounds = { timeoutMs: 10_000, maxOutputBytes: 16 * 1024 * 1024 };
const userNamespace = ['--user', '--preserve-credentials', '--mount'];

/**
 * Makes the folder a root whose owner is root in the namespace. The real `/` belongs to nobody there, and a program that
 * guards a socket by the owners of the folders above it refuses that.
 */
async function makeRoot(folder: string, holder: number): Promise<void> {
  const host = '.assay-host';
  await mkdir(join(folder, host));
  for (const entry of await readdir('/')) await symlink(join(host, entry), join(folder, entry));
  const mount = ['mount', '--rbind', '/', join(folder, host)];
  await run('nsenter', ['--target', String(holder), ...userNamespace, '--', ...mount], bounds);
}

class Namespace implements NetworkNamespace {
  readonly sockets: NetworkNamespace['sockets'];
  readonly #holder: Daemon;
  readonly #entered: readonly string[];

  constructor(holder: Daemon, folder: string, isRoot: boolean) {
    this.sockets = { inside: isRoot ? folder : '/', outside: folder };
    this.#holder = holder;
    // Through the holder, since the mount is to be seen in its namespace alone.
    const root = `/proc/${holder.pid}/root${folder}`;
    this.#entered = isRoot ? ['--net'] : [...userNamespace, '--net', `--root=${root}`, `--wd=${root}`];
  }

  inside(program: string, ...args: readonly string[]): readonly [string, ...string[]] {
    return ['nsenter', '--target', String(this.#holder.pid), ...this.#entered, '--', program, ...args];
  }

  async run(program: string, args: readonly string[], input?: string): Promise<string> {
    const [enter, ...rest] = this.inside(program, ...args);
    const { stdout } = await run(enter, rest, {
      ...bounds,
      ...(input !== undefined && { input: Buffer.from(input) }),
    });
    return stdout.toString('utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.kill('SIGKILL');
    await rm(this.sockets.outside, { recursive: true, force: true });
  }
}

async function sleeps(pid: number, own: string): Promise<boolean> {
  const [program, network] = await Promise.all([
    readlink(`/proc/${pid}/exe`).catch(() => ''),
    readlink(`/proc/${pid}/ns/net`).catch(() => own),
  ]);
  return network !== own && !program.endsWith('unshare') && !program.endsWith('setpriv');
}
