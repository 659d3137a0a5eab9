import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Which server the process shall be: ours, bare TLS and ws that sends each message back, or the least that answers. */
export interface Order {
  readonly kind: 'assay' | 'bare' | 'least';
  readonly stateDir: string;
  readonly challengeEveryMs: number;
  /** The cluster that it is in; without it none. */
  readonly kubeconfig?: string;
  /** A file; without it identity and boot of all nodes. */
  readonly policy?: string;
  /** Whether there are series of each node; without it there are. */
  readonly perNode?: boolean;
  /** File of the key that wraps those of disks; without it there are none. */
  readonly wrappingKeyFile?: string;
}

export interface Addresses {
  readonly port: number;
  readonly apiPort: number;
  readonly metricsPort: number;
  /** PEM */
  readonly ca: string;
}

/** Of the server's process; counts and times are those since the sample before. */
export interface Sample {
  readonly cpuMs: number;
  readonly answered: number;
  readonly overdue: number;
  readonly rssKib: number;
  readonly lagP99Ms: number;
  /** Since it was settled. */
  readonly settledLagP99Ms: number;
}

export interface MeasuredServer extends Addresses, AsyncDisposable {
  sample(): Promise<Sample>;
  /** The same after its garbage is collected. */
  settle(): Promise<Sample>;
}

/** What the server runs with where it is installed, as its unit, its image and its chart have it. */
export interface Shipped {
  readonly execArgv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export const asShipped = shipped(
  readFileSync(join(import.meta.dirname, '../../manifests/host/assay-server.service'), 'utf8'),
);

function shipped(unit: string): Shipped {
  const { NODE_OPTIONS = '', ...env } = Object.fromEntries(
    Array.from(unit.matchAll(/^Environment="([^=]+)=(.*)"$/gm), ([, name, value]) => [name, value]),
  );
  return { execArgv: NODE_OPTIONS.split(' '), env };
}

export async function startMeasured(
  order: Order,
  { execArgv = [], env = {} }: Shipped = {},
): Promise<MeasuredServer> {
  const child = fork(join(import.meta.dirname, 'server-process.ts'), [JSON.stringify(order)], {
    execArgv: ['--expose-gc', ...execArgv],
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const { port, apiPort, metricsPort, ca } = await answer<Addresses>(child);
  const ask = (what: 'sample' | 'settle') => {
    child.send(what);
    return answer<Sample>(child);
  };
  return {
    port,
    apiPort,
    metricsPort,
    ca,
    sample: () => ask('sample'),
    settle: () => ask('settle'),
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit');
      child.send('close');
      await gone;
    },
  };
}

/** Both ends are this program. */
async function answer<T>(child: ChildProcess): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`the measured server ended with ${code}`));
    child.once('exit', ended);
    child.once('message', (message) => {
      child.off('exit', ended);
      resolve(message as T);
    });
  });
}
