import { once } from 'node:events';
import { start, ToolError } from 'node-tpm2/run';
import { readRules } from '../../../../agent/netfilter/read-rules.ts';
import { type FirewallPart, parseFirewallPart } from '../../../../attest-server/protocol/firewall.ts';
import { type Namespace, openNamespace } from '../../../agent/netfilter/namespace.ts';

/** A node with real rules, and a neighbour by whose packets is seen what they let in. */
export interface WiredNode extends AsyncDisposable {
  /** Runs a shell script on the node. @throws ToolError where a command fails */
  sh(script: string): Promise<string>;
  /** What the agent of the node sends. */
  read(): Promise<FirewallPart>;
  /** True where a connection by TCP from the neighbour to this port is answered. @param address of the node unless another is given */
  isReached(port: number, address?: string): Promise<boolean>;
  readonly netns: string;
}

const nodeAddress = '10.77.0.1';
const neighbourAddress = '10.77.0.2';
/** Of the node, on the way to who is behind it. */
const gateway = '10.88.0.1';

/** @param listening ports of the node at which somebody answers @param behind addresses of who answers at port 80 behind it */
export async function openWiredNode(
  listening: readonly number[],
  behind: readonly string[] = [],
): Promise<WiredNode> {
  await using opened = new AsyncDisposableStack();
  const node = opened.use(await openNamespace());
  const neighbour = opened.use(await openNamespace());
  const pidOf = ({ netns }: { readonly netns: string }) => netns.split('/')[2] ?? '';
  await node.sh(`ip link add eth0 type veth peer name eth0 netns ${pidOf(neighbour)}
    ip address add ${nodeAddress}/24 dev eth0; ip link set eth0 up`);
  await neighbour.sh(`ip address add ${neighbourAddress}/24 dev eth0; ip link set eth0 up
    ip route add default via ${nodeAddress}`);
  opened.use(await answerIn(node, listening));
  if (behind.length > 0) {
    const other = opened.use(await openNamespace());
    await node.sh(`ip link add cont0 type veth peer name eth0 netns ${pidOf(other)}
      ip address add ${gateway}/24 dev cont0; ip link set cont0 up; sysctl -qw net.ipv4.ip_forward=1
      ${behind.map((address) => `ip route replace ${address}/32 dev cont0`).join('\n')}`);
    await other.sh(`ip link set eth0 up; ${behind.map((address) => `ip address add ${address}/32 dev eth0`).join('\n')}
      ip route add ${gateway}/32 dev eth0; ip route add default via ${gateway}`);
    opened.use(await answerIn(other, [80]));
  }
  const all = opened.move();
  return {
    netns: node.netns,
    sh: (script) => node.sh(script),
    read: async () => parseFirewallPart((await readRules({ netns: node.netns })).bytes),
    async isReached(port, address = nodeAddress) {
      try {
        await neighbour.sh(`timeout 2 bash -c 'exec 3<>/dev/tcp/${address}/${port}' 2>&1`);
        return true;
      } catch (error) {
        if (error instanceof ToolError) return false;
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function answerIn({ netns }: Namespace, ports: readonly number[]): Promise<AsyncDisposable> {
  const answering = start('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', answer(ports)], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ended = new Promise((resolve) => answering.once('close', resolve));
  if (answering.stdout === null) throw new Error('no output of the program that answers');
  await once(answering.stdout, 'data');
  return {
    async [Symbol.asyncDispose]() {
      answering.stdin?.destroy();
      await ended;
    },
  };
}

/** Ends with its input. */
const answer = (ports: readonly number[]) => `
  const { createServer } = require('node:net');
  const opened = ${JSON.stringify(ports)}.map((port) => new Promise((resolve) => createServer((one) => one.end()).listen(port, resolve)));
  Promise.all(opened).then(() => console.log('listening'));
  process.stdin.resume().once('close', () => process.exit());`;
