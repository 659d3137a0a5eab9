import { type FirewallPart, parseFirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { openInside } from './inside.ts';

/** A node with real rules. */
export interface RuledNode extends AsyncDisposable {
  /** Of a process in its network. */
  readonly pid: number;
  /** Runs a shell script on the node. @throws Error where a command fails */
  sh(script: string): Promise<string>;
  /** What the agent of the node sends. */
  read(): Promise<FirewallPart>;
  /** Somebody answers at these ports. */
  listen(ports: readonly number[]): Promise<void>;
  /** Takes away all rules and addresses that came since it was opened. */
  reset(): Promise<void>;
}

/** And a neighbour by whose packets is seen what they let in. */
export interface WiredNode extends RuledNode {
  /** True where a connection by TCP from the neighbour to this port is answered. @param address of the node unless another is given */
  isReached(port: number, address?: string): Promise<boolean>;
}

const nodeAddress = '10.77.0.1';
const neighbourAddress = '10.77.0.2';
/** Of the node, on the way to who is behind it. */
const gateway = '10.88.0.1';
/** Somebody answers here, by IPv6, of which few rules speak. */
const witness = { address: 'fd77::1', port: 7 };

const addresses = `address add ${nodeAddress}/24 dev eth0\naddress add ${witness.address}/64 dev eth0 nodad`;

/** @param link what `ip link` adds as its card */
export async function openRuledNode(link = 'type veth peer name wire0'): Promise<RuledNode> {
  const node = await openInside();
  const sh = async (script: string) => String(await node.ask({ sh: script }));
  await sh(`ip -batch - <<'END'
link set lo up
link add eth0 ${link}
${addresses}
link set eth0 up
END`);
  return {
    pid: node.pid,
    sh,
    read: async () => parseFirewallPart(Buffer.from(String(await node.ask({ read: true })))),
    async listen(ports) {
      await node.ask({ listen: [...ports] });
    },
    async reset() {
      await sh(`nft flush ruleset; ip -batch - <<'END'
address flush dev lo scope global
address flush dev eth0
${addresses}
END
        for table in $(< /proc/net/ip_tables_names); do iptables-legacy -t $table -F; iptables-legacy -t $table -X; done`);
    },
    [Symbol.asyncDispose]: () => node[Symbol.asyncDispose](),
  };
}

/** @param listening ports of the node at which somebody answers @param behind addresses of who answers at port 80 behind it */
export async function openWiredNode(
  listening: readonly number[],
  behind: readonly string[] = [],
): Promise<WiredNode> {
  await using opened = new AsyncDisposableStack();
  const open = async () => opened.use(await openInside());
  const [neighbour, other] = await Promise.all([open(), behind.length > 0 ? open() : null]);
  const node = opened.use(await openRuledNode(`type veth peer name eth0 netns ${neighbour.pid}`));
  await neighbour.ask({
    sh: `ip link set lo up; ip address add ${neighbourAddress}/24 dev eth0; ip address add fd77::2/64 dev eth0 nodad
      ip link set eth0 up; ip route add default via ${nodeAddress}`,
  });
  await node.listen([witness.port, ...listening]);
  if (other !== null) {
    await node.sh(`ip link add cont0 type veth peer name eth0 netns ${other.pid}
      ip address add ${gateway}/24 dev cont0; ip link set cont0 up; sysctl -qw net.ipv4.ip_forward=1
      ${behind.map((address) => `ip route replace ${address}/32 dev cont0`).join('\n')}`);
    await other.ask({
      sh: `ip link set eth0 up; ${behind.map((address) => `ip address add ${address}/32 dev eth0`).join('\n')}
      ip route add ${gateway}/32 dev eth0; ip route add default via ${gateway}`,
    });
    await other.ask({ listen: [80] });
  }
  const all = opened.move();
  return {
    ...node,
    async isReached(port, address = nodeAddress) {
      const reach = { address, port, witness: address === nodeAddress ? witness : null };
      return (await neighbour.ask({ reach })) === true;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
