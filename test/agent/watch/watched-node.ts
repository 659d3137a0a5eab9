import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { inputChain, type NetworkNamespace } from '../../../swtpm-fixtures/namespace.ts';
import { type NodePrograms, startNodePrograms } from '../../../swtpm-fixtures/node-programs.ts';
import { ekDigestOf } from '../../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';

/** A node of which every aspect is required and vouched for: only what it says by itself is seen before the next challenge. */
export interface WatchedNode extends AsyncDisposable {
  readonly world: TestServer;
  readonly machine: FixtureMachine;
  readonly network: NetworkNamespace;
  readonly programs: NodePrograms;
  /** Bytes between the node and its server so far, both ways. */
  readonly bytes: () => number;
  /** Milliseconds until a verdict of that state that was not there before. */
  until(state: 'trusted' | 'untrusted', withinMs: number): Promise<number>;
}

export interface WatchedOptions {
  /** Seconds. */
  readonly challengeEvery: number;
  readonly program?: readonly [string, ...string[]];
  /** Done before the firewall is vouched for. */
  readonly prepare?: (network: NetworkNamespace) => Promise<void>;
}

const node = 'node-1';

export async function startWatchedNode(options: WatchedOptions): Promise<WatchedNode> {
  const { challengeEvery, program, prepare } = options;
  await using starting = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'assay-watched-'));
  starting.defer(() => rm(dir, { recursive: true, force: true }));
  const policy = join(dir, 'policy.yaml');
  await writeFile(policy, stringify(policyOfAll));
  const world = starting.use(
    await startTestServer({ policy, challengeEvery, unknownAfter: 3 * challengeEvery }),
  );
  const machine = starting.use(await startMachine({ log: recordedLog('debian13-shim-grub'), network: true }));
  const { network } = machine;
  if (network === null || typeof network === 'string') throw new Error(`no network: ${network}`);
  await prepare?.(network);
  await world.pin(node, await ekDigestOf(machine));
  const counted = starting.use(await countBytes(world.server.agentPort));
  const running = starting.use(
    await startNodePrograms(machine, {
      node,
      dir,
      server: { port: counted.port },
      trust: { caFile: world.server.caFile },
      program: program ?? [process.execPath, programs['assay-agent']],
    }),
  );
  await world.until(() => world.verdicts.length > 0, 60_000);
  for (const kind of ['boot', 'disk', 'firewall'])
    await world.call('POST', '/v1/references', { node, name: `good-${kind}`, kind });
  await world.until(async () => (await world.status(node))?.state === 'trusted', 60_000);
  const started = starting.move();
  return {
    world,
    machine,
    network,
    programs: running,
    bytes: counted.bytes,
    async until(state, withinMs) {
      const [began, seen] = [performance.now(), world.verdicts.length];
      while (!world.verdicts.slice(seen).some(({ verdict }) => verdict.state === state)) {
        if (performance.now() - began > withinMs) throw new Error(`not ${state} within ${withinMs} ms`);
        await sleep(2);
      }
      return performance.now() - began;
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

const policyOfAll = {
  apiVersion: 'assay.dev/v1',
  kind: 'Policy',
  groups: [
    {
      name: 'workers',
      nodes: ['*'],
      mode: 'enforce',
      require: ['identity', 'boot', 'disk', 'firewall', 'host'],
      firewall: { forbid: ['input tcp 22 from anywhere'] },
    },
  ],
};

/** What can be changed on a running node, and taken back. */
export const tampers = {
  nft: {
    do: ({ network }) =>
      network.run('nft', ['insert', 'rule', ...inputChain, 'tcp', 'dport', '22', 'accept']),
    undo: async ({ network }) => {
      const listed = await network.run('nft', ['-a', 'list', 'chain', ...inputChain]);
      const handle = /dport 22 accept # handle (\d+)/.exec(listed)?.[1] ?? '';
      await network.run('nft', ['delete', 'rule', ...inputChain, 'handle', handle]);
    },
  },
  iptables_nft: {
    do: ({ network }) => network.run('iptables-nft', ['-I', 'INPUT', '1', ...letIn]),
    undo: ({ network }) => network.run('iptables-nft', ['-D', 'INPUT', ...letIn]),
  },
  mount: {
    do: ({ machine }) => machine.mountStorage('bound over'),
    undo: ({ machine }) => machine.mountStorage('encrypted'),
  },
  mapping: {
    do: async ({ machine }) => {
      await rename(join(machine.sysroot, mappingUuid), join(machine.sysroot, `${mappingUuid}.good`));
      await writeFile(join(machine.sysroot, mappingUuid), 'CRYPT-PLAIN-docker_crypt\n');
    },
    undo: ({ machine }) =>
      rename(join(machine.sysroot, `${mappingUuid}.good`), join(machine.sysroot, mappingUuid)),
  },
} as const satisfies Record<
  string,
  { readonly [Step in 'do' | 'undo']: (node: Pick<WatchedNode, 'machine' | 'network'>) => Promise<unknown> }
>;

const letIn = ['-p', 'tcp', '--dport', '22', '-j', 'ACCEPT'];
const mappingUuid = 'sys/devices/virtual/block/dm-0/dm/uuid';

/** So that the chains of iptables-nft are there before the firewall is vouched for. */
export async function withIptables(network: NetworkNamespace): Promise<void> {
  await network.run('iptables-nft', ['-P', 'INPUT', 'DROP']);
}

/** A way to that port of this computer that counts what goes over it. */
async function countBytes(
  to: number,
): Promise<AsyncDisposable & { readonly port: number; readonly bytes: () => number }> {
  let bytes = 0;
  const server: Server = createServer((near) => {
    const far = connect(to, '127.0.0.1');
    for (const [from, other] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk) => {
        bytes += chunk.length;
      });
      from.on('error', () => other.destroy());
      from.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    bytes: () => bytes,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
