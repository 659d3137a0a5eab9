import { once } from 'node:events';
import { start, ToolError } from 'node-tpm2/run';
import { readRules } from '../../../../agent/netfilter/read-rules.ts';
import { type FirewallPart, parseFirewallPart } from '../../../../attest-server/protocol/firewall.ts';
import { openNamespace } from '../../../agent/netfilter/namespace.ts';

/** A node with real rules, and a neighbour by whose packets is seen what they let in. */
export interface WiredNode extends AsyncDisposable {
  /** Runs a shell script on the node. @throws ToolError where a command fails */
  sh(script: string): Promise<string>;
  /** What the agent of the node sends. */
  read(): Promise<FirewallPart>;
  /** True where a connection by TCP from the neighbour to this port of the node's address is answered. */
  isReached(port: number): Promise<boolean>;
  readonly netns: string;
}

const nodeAddress = '10.77.0.1';
const neighbourAddress = '10.77.0.2';

/** @param listening ports of the node at which somebody answers */
export async function openWiredNode(listening: readonly number[]): Promise<WiredNode> {
  const node = await openNamespace();
  const neighbour = await openNamespace();
  const pidOf = ({ netns }: { readonly netns: string }) => netns.split('/')[2] ?? '';
  await node.sh(`ip link add eth0 type veth peer name eth0 netns ${pidOf(neighbour)}
    ip address add ${nodeAddress}/24 dev eth0; ip link set eth0 up`);
  await neighbour.sh(`ip address add ${neighbourAddress}/24 dev eth0; ip link set eth0 up`);
  const answering = start(
    'nsenter',
    [`--net=${node.netns}`, '--', process.execPath, '-e', answer(listening)],
    {
      stdio: ['pipe', 'pipe', 'ignore'],
    },
  );
  const ended = new Promise((resolve) => answering.once('close', resolve));
  if (answering.stdout === null) throw new Error('no output of the program that answers');
  await once(answering.stdout, 'data');
  return {
    netns: node.netns,
    sh: (script) => node.sh(script),
    read: async () => parseFirewallPart((await readRules({ netns: node.netns })).bytes),
    async isReached(port) {
      try {
        await neighbour.sh(`timeout 2 bash -c 'exec 3<>/dev/tcp/${nodeAddress}/${port}' 2>&1`);
        return true;
      } catch (error) {
        if (error instanceof ToolError) return false;
        throw error;
      }
    },
    async [Symbol.asyncDispose]() {
      answering.stdin?.destroy();
      await ended;
      await neighbour[Symbol.asyncDispose]();
      await node[Symbol.asyncDispose]();
    },
  };
}

/** Ends with its input. */
const answer = (ports: readonly number[]) => `
  const { createServer } = require('node:net');
  const opened = ${JSON.stringify(ports)}.map((port) => new Promise((resolve) => createServer((one) => one.end()).listen(port, resolve)));
  Promise.all(opened).then(() => console.log('listening'));
  process.stdin.resume().once('close', () => process.exit());`;
