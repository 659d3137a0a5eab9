import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'mocha';
import { failing, judged, referenceOf } from './made-firewall.ts';
import { openWiredNode, type WiredNode } from './wired-node.ts';

const iptables = (rules: string) =>
  rules.replaceAll(/^ *(?=-)/gm, 'iptables-nft ').replaceAll(/^ *\*(\w+) /gm, 'iptables-nft -t $1 ');
const nft = (rules: string) => `nft -f - <<'RULES'\n${rules}\nRULES\n`;
const closed = `-P INPUT DROP
  -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT`;

const redirect = '-p tcp -m tcp --dport 6443 -j REDIRECT --to-ports 2222';
const toNode = '-p tcp -m tcp --dport 6443 -j DNAT --to-destination 10.77.0.1:2222';
const accept = '-p tcp -m tcp --dport 22 -j ACCEPT';

/** Who is behind the node. */
const container = '10.88.0.2';

/** What an owner writes, and ways through it that it never writes: each lets the neighbour reach a port. */
interface Ways {
  readonly owner: string;
  readonly load: string;
  /** A port of the node, or the one of who is behind it. */
  readonly reached: number | 'behind';
  readonly strays: Readonly<Record<string, string>>;
}

/** By a chain that packets come through before the node has them. */
const byNat = (chain: string): Ways['strays'] => ({
  'a redirect': iptables(`*nat -I ${chain} ${redirect}`),
  'a dnat': iptables(`*nat -I ${chain} ${toNode}`),
  'a jump': iptables(`*nat -N SITE
    *nat -A SITE ${redirect}
    *nat -I ${chain} -j SITE`),
});

const bySet = (table: string, chain: string): Ways['strays'] => ({
  'a redirect': `nft insert rule ${table} ${chain} tcp dport 6443 redirect to :2222`,
  'a dnat': `nft insert rule ${table} ${chain} tcp dport 6443 dnat ${table.startsWith('inet') ? 'ip ' : ''}to 10.77.0.1:2222`,
  'a jump': `nft add chain ${table} site; nft add rule ${table} site tcp dport 6443 redirect to :2222
    nft insert rule ${table} ${chain} jump site`,
  'a base chain': `nft add chain ${table} more '{ type nat hook prerouting priority -150; }'
    nft add rule ${table} more tcp dport 6443 redirect to :2222`,
});

const byFilter = (chain: string, rule = accept): Ways['strays'] => ({
  'an accept': iptables(`-I ${chain} ${rule}`),
  'a jump': iptables(`-N SITE
    -A SITE ${rule}
    -I ${chain} -j SITE`),
});

const ways: readonly Ways[] = [
  {
    owner: 'fail2ban',
    load: iptables(`${closed}
      -N f2b-sshd
      -A f2b-sshd -s 192.0.2.7 -j REJECT --reject-with icmp-port-unreachable
      -A f2b-sshd -j RETURN
      -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd`),
    reached: 22,
    strays: byFilter('f2b-sshd'),
  },
  {
    owner: 'a chain of nat by the name of one of fail2ban',
    load: iptables(`*nat -N f2b-sshd
      *nat -A PREROUTING -p tcp -m multiport --dports 6443 -j f2b-sshd`),
    reached: 6443,
    strays: byNat('f2b-sshd'),
  },
  {
    owner: 'the table of fail2ban',
    load: nft(`table inet f2b-table {
      set addr-set-sshd { type ipv4_addr; elements = { 192.0.2.7 }; }
      chain f2b-chain { type filter hook input priority -1; tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable; }
    }`),
    reached: 6443,
    strays: { 'a base chain': bySet('inet f2b-table', '')['a base chain'] ?? '' },
  },
  {
    owner: 'Docker',
    load: iptables(`*nat -N DOCKER
      *nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
      *nat -A DOCKER -i br-0123456789ab -j RETURN
      *nat -A DOCKER ! -i br-0123456789ab -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80
      *nat -A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE`),
    reached: 6443,
    strays: byNat('DOCKER'),
  },
  {
    owner: 'what Docker forwards',
    load: iptables(`-P FORWARD DROP
      -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
      -N DOCKER
      -A DOCKER -d 172.18.0.2/32 ! -i br-0123456789ab -o br-0123456789ab -p tcp -m tcp --dport 80 -j ACCEPT
      -A FORWARD -o br-0123456789ab -j DOCKER
      -A FORWARD -i br-0123456789ab ! -o br-0123456789ab -j ACCEPT`),
    reached: 'behind',
    strays: {
      'an accept': iptables('-I FORWARD -i eth0 ! -o eth0 -j ACCEPT'),
      'an accept between two bridges': iptables(
        '-I FORWARD ! -i br-0123456789ab ! -o br-0123456789ac -j ACCEPT',
      ),
      'an accept in its chain': iptables(`-I DOCKER -p tcp -m tcp --dport 80 -j ACCEPT
        -I FORWARD -o cont0 -j DOCKER`),
      'a jump': iptables(`-N SITE
        -A SITE -j ACCEPT
        -I FORWARD -o cont0 -j SITE`),
    },
  },
  {
    owner: "Docker's nftables backend",
    load: nft(`table ip docker-bridges {
      chain nat-prerouting-and-output { iifname != "br-0" tcp dport 8080 dnat to 192.168.0.2:80 comment "DNAT"; }
      chain nat-PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local counter jump nat-prerouting-and-output; }
    }`),
    reached: 6443,
    strays: bySet('ip docker-bridges', 'nat-prerouting-and-output'),
  },
  {
    owner: 'netavark',
    load: iptables(`*nat -N NETAVARK-HOSTPORT-DNAT
      *nat -A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT`),
    reached: 6443,
    strays: byNat('NETAVARK-HOSTPORT-DNAT'),
  },
  {
    owner: 'what netavark lets in',
    load: iptables(`${closed}
      -N NETAVARK_INPUT
      -I INPUT -m comment --comment "netavark firewall rules" -j NETAVARK_INPUT
      -A NETAVARK_INPUT -s 10.88.0.0/16 -p udp -m udp --dport 53 -j ACCEPT`),
    reached: 22,
    strays: {
      ...byFilter('NETAVARK_INPUT'),
      'its own form with another port': iptables(
        '-A NETAVARK_INPUT -s 10.77.0.0/24 -p tcp -m tcp --dport 22 -j ACCEPT',
      ),
    },
  },
  {
    owner: 'what netavark forwards',
    load: iptables(`-P FORWARD DROP
      -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
      -N NETAVARK_FORWARD
      -I FORWARD -m comment --comment "netavark firewall rules" -j NETAVARK_FORWARD
      -A NETAVARK_FORWARD -m conntrack --ctstate INVALID -j DROP
      -A NETAVARK_FORWARD -s 10.88.0.0/16 -j ACCEPT`),
    reached: 'behind',
    strays: {
      ...byFilter('NETAVARK_FORWARD', '-o cont0 -j ACCEPT'),
      'a network of anybody': iptables('-A NETAVARK_FORWARD -s 8.0.0.0/4 -j ACCEPT'),
    },
  },
  {
    owner: 'the table of netavark',
    load: nft(`table inet netavark {
      chain NETAVARK-HOSTPORT-DNAT { tcp dport 8080 jump nv_2f259bab_10_88_0_0_nm16_dnat; }
      chain nv_2f259bab_10_88_0_0_nm16_dnat { tcp dport 8080 dnat ip to 10.88.0.2:80; }
      chain PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local jump NETAVARK-HOSTPORT-DNAT; }
    }`),
    reached: 6443,
    strays: bySet('inet netavark', 'NETAVARK-HOSTPORT-DNAT'),
  },
  {
    owner: 'portmap',
    load: iptables(`*nat -N CNI-HOSTPORT-DNAT
      *nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT`),
    reached: 6443,
    strays: byNat('CNI-HOSTPORT-DNAT'),
  },
  {
    owner: 'the table of portmap',
    load: nft(`table ip cni_hostport {
      chain hostports { tcp dport 8080 dnat to 10.88.0.2:80 comment "abc"; }
      chain prerouting { type nat hook prerouting priority dstnat; jump hostports; }
    }`),
    reached: 6443,
    strays: bySet('ip cni_hostport', 'hostports'),
  },
];

describe('packets through what owners of rules write', function () {
  this.timeout(60_000);

  const relay = '198.51.100.9';
  let node: WiredNode;
  before(async function () {
    // Two networks that are wired need one user namespace.
    if (process.getuid?.() !== 0) this.skip();
    node = await openWiredNode([22, 53, 2222], [container, relay]);
  });
  afterEach(() => node?.reset());
  after(() => node?.[Symbol.asyncDispose]());

  for (const { owner, load, reached, strays } of ways)
    for (const [how, stray] of Object.entries(strays))
      it(`find no way that nobody sees: ${owner}, ${how} (row 344)`, async () => {
        await node.sh(load);
        const good = await node.read();
        assert.deepEqual(failing(judged(good, [referenceOf(good)])), []);
        await node.sh(stray);
        const codes = failing(judged(await node.read(), [referenceOf(good)]));
        assert(codes.includes('fw_drift'), codes.join());
        const isIn = reached === 'behind' ? node.isReached(80, container) : node.isReached(reached);
        assert.equal(await isIn, true);
      });

  describe('of netavark', () => {
    const chains = iptables(`*nat -N NETAVARK-HOSTPORT-DNAT
      *nat -A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
      -P INPUT DROP
      -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
      -N NETAVARK_INPUT
      -I INPUT -m comment --comment "netavark firewall rules" -j NETAVARK_INPUT`);
    const sent = (to: string) =>
      iptables(`*nat -N NETAVARK-DN-1D8721804F16F
        *nat -A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport 6443 -j DNAT --to-destination ${to}
        *nat -A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 6443 -j NETAVARK-DN-1D8721804F16F`);

    it('lead to an address of the internet, which it never does: that is seen (row 341)', async () => {
      await node.sh(chains);
      const reference = referenceOf(await node.read());
      await node.sh(sent(`${relay}:80`));
      assert.deepEqual(failing(judged(await node.read(), [reference])), ['fw_drift']);
      assert.equal(await node.isReached(6443), true);
    });

    it('may lead to a container, as a published port does: nothing is found (row 342)', async () => {
      await node.sh(chains);
      const reference = referenceOf(await node.read());
      await node.sh(sent(`${container}:80`));
      const part = await node.read();
      assert.deepEqual(failing(judged(part, [reference])), []);
      assert.equal(await node.isReached(6443), true);
      const without = judged(part, [reference], ['owners: [fail2ban, docker]']);
      assert(failing(without).includes('fw_drift'));
    });

    it('lead to an address that the node took, whether or not its agent says so (row 339)', async () => {
      await node.sh(chains);
      const reference = referenceOf(await node.read());
      await node.sh(`${sent('10.88.0.7:2222')}
        ip address add 10.88.0.7/32 dev lo`);
      const part = await node.read();
      const { local: _, ...ofBefore } = part;
      for (const one of [part, ofBefore]) assert(failing(judged(one, [reference])).includes('fw_drift'));
      // Agents of 0.3.0 say of no address whether it is the node's.
      assert.deepEqual(part.local, ['10.88.0.7']);
      await node.sh(iptables('-I INPUT -p tcp -m tcp --dport 2222 -j ACCEPT'));
      assert.equal(await node.isReached(6443), true);
    });

    it('may ask port 53 from a private net: nothing is found, but where it is forbidden (row 343)', async () => {
      await node.sh(chains);
      const reference = referenceOf(await node.read());
      assert.equal(await node.isReached(53), false);
      await node.sh(iptables('-A NETAVARK_INPUT -s 10.77.0.0/24 -p tcp -m tcp --dport 53 -j ACCEPT'));
      const part = await node.read();
      assert.deepEqual(failing(judged(part, [reference])), []);
      assert.equal(await node.isReached(53), true);
      const forbidden = judged(part, [reference], ['forbid: [input tcp 53 from anywhere but 10.88.0.0/16]']);
      assert.deepEqual(failing(forbidden), ['fw_policy_open']);
    });

    it('may forward what a private net sends: nothing is found, but where it is forbidden (row 346)', async () => {
      await node.sh(
        `${chains}
${iptables(`-P FORWARD DROP
      -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
      -N NETAVARK_FORWARD
      -I FORWARD -m comment --comment "netavark firewall rules" -j NETAVARK_FORWARD`)}`,
      );
      const reference = referenceOf(await node.read());
      assert.equal(await node.isReached(80, container), false);
      await node.sh(iptables('-A NETAVARK_FORWARD -s 10.77.0.0/24 -j ACCEPT'));
      const part = await node.read();
      assert.deepEqual(failing(judged(part, [reference])), []);
      assert.equal(await node.isReached(80, container), true);
      const forbidden = judged(
        part,
        [reference],
        ['forbid: [forward tcp 80 from anywhere but 10.88.0.0/16]'],
      );
      assert.deepEqual(failing(forbidden), ['fw_policy_open']);
    });
  });
});
