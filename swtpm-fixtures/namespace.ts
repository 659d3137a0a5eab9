import { readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { type Daemon, startDaemon } from './daemon.ts';

/** A network of its own, as a machine has one: real rules of the kernel, held by a small process. */
export interface NetworkNamespace extends AsyncDisposable {
  /** Argv by which a program runs in it. */
  inside(program: string, ...args: readonly string[]): readonly [string, ...string[]];
  /** Runs nft (or iptables) in it. @throws ToolError where it fails */
  run(program: string, args: readonly string[], input?: string): Promise<string>;
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
  const isRoot = process.getuid?.() === 0;
  const unshared = isRoot ? ['--net'] : ['--user', '--map-root-user', '--net'];
  const entered = isRoot ? ['--net'] : ['--user', '--preserve-credentials', '--net'];
  const own = await readlink('/proc/self/ns/net');
  const holder = await startDaemon('unshare', [...unshared, '--', 'sleep', 'infinity']);
  let said: string | null = null;
  void holder.ended.then((text) => {
    said = text.trim() || 'it ended';
  });
  const namespace = new Namespace(holder, entered);
  try {
    // The namespace is there once the process that holds it has left ours, and its user is mapped once it sleeps.
    for (let left = 500; !(await sleeps(holder.pid, own)); left--) {
      if (said !== null || left === 0) throw new Error(said ?? 'it does not start');
      await sleep(10);
    }
    await namespace.run('nft', ['-f', '-'], rules);
    return namespace;
  } catch (error) {
    await namespace[Symbol.asyncDispose]();
    return `no network namespace with rules of nft: ${error instanceof Error ? error.message : String(error)}`;
  }
}

class Namespace implements NetworkNamespace {
  readonly #holder: Daemon;
  readonly #entered: readonly string[];

  constructor(holder: Daemon, entered: readonly string[]) {
    this.#holder = holder;
    this.#entered = entered;
  }

  inside(program: string, ...args: readonly string[]): readonly [string, ...string[]] {
    return ['nsenter', '--target', String(this.#holder.pid), ...this.#entered, '--', program, ...args];
  }

  async run(program: string, args: readonly string[], input?: string): Promise<string> {
    const [enter, ...rest] = this.inside(program, ...args);
    const { stdout } = await run(enter, rest, {
      timeoutMs: 10_000,
      maxOutputBytes: 16 * 1024 * 1024,
      ...(input !== undefined && { input: Buffer.from(input) }),
    });
    return stdout.toString('utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.kill('SIGKILL');
  }
}

async function sleeps(pid: number, own: string): Promise<boolean> {
  const [program, network] = await Promise.all([
    readlink(`/proc/${pid}/exe`).catch(() => ''),
    readlink(`/proc/${pid}/ns/net`).catch(() => own),
  ]);
  return network !== own && !program.endsWith('unshare') && !program.endsWith('setpriv');
}
