import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'mocha';
import { failing, judged, referenceOf } from './made-firewall.ts';
import { openWiredNode, type WiredNode } from './wired-node.ts';

/** What a node leaves out, or a server does not compare, is no way in: by packets of a neighbour, not by rules alone. */
describe('what is not compared', function () {
  this.timeout(60_000);

  let node: WiredNode;
  before(async function () {
    // Two networks that are wired need one user namespace.
    if (process.getuid?.() !== 0) this.skip();
    node = await openWiredNode([22, 2222]);
  });
  afterEach(() => node?.reset());
  after(() => node?.[Symbol.asyncDispose]());

  /** Codes that fail, beside what the rules were before. */
  async function codesAfter(script: string, lines: readonly string[] = []): Promise<readonly string[]> {
    const reference = referenceOf(await node.read());
    await node.sh(script);
    return failing(judged(await node.read(), [reference], lines));
  }

  const pod = 'CNI-0123456789abcdef01234567';
  for (const chain of ['PREROUTING', 'OUTPUT', 'INPUT'])
    it(`does not have a rule of ${chain} that leads into the chain of a pod (row 332)`, async () => {
      await node.sh(`iptables-nft -t nat -N ${pod}; iptables-nft -t nat -A PREROUTING -p udp -j RETURN`);
      assert.equal(await node.isReached(6443), false);
      const codes = await codesAfter(`
        iptables-nft -t nat -A ${pod} -p tcp -j ${chain === 'INPUT' ? 'SNAT --to-source 10.77.0.9' : 'REDIRECT --to-ports 2222'}
        iptables-nft -t nat -A ${chain} -p tcp --dport 6443 -m comment --comment 'name: "podman" id: "1"' -j ${pod}`);
      assert(codes.includes('fw_drift'), codes.join());
      assert.equal(await node.isReached(6443), chain === 'PREROUTING');
    });

  it('is what the bridge plugin of CNI writes for a pod, and nothing else that ends like it (row 332)', async () => {
    await node.sh(`iptables-nft -t nat -N ${pod}; iptables-nft -t nat -A POSTROUTING -p udp -j RETURN`);
    const rule = (source: string, comment: string) =>
      `iptables-nft -t nat -A POSTROUTING ${source} ${comment} -j ${pod}`;
    const written = `-m comment --comment 'name: "podman" id: "0123456789abcdef"'`;
    assert.deepEqual(await codesAfter(rule('-s 10.88.0.7/32', written)), []);
    for (const other of [
      rule('-s 10.88.0.0/16', written),
      rule('', written),
      rule('-s 10.88.0.7/32', ''),
      rule('-s 10.88.0.7/32', '-m comment --comment "of a pod"'),
      rule('-s 10.88.0.7/32 -p tcp', written),
    ])
      assert.deepEqual(await codesAfter(other), ['fw_drift'], other);
  });

  it('is no address that a list of people lets in for a day, again and again (row 333)', async () => {
    await node.sh(`nft -f - <<< 'table inet site {
      set friends { type ipv4_addr; flags timeout; timeout 23h; }
      chain input { type filter hook input priority 0; policy drop; ip saddr @friends tcp dport 22 accept; }
    }'`);
    assert.equal(await node.isReached(22), false);
    const codes = await codesAfter('nft add element inet site friends { 10.77.0.2 }');
    assert.deepEqual(codes, ['fw_drift']);
    assert.equal(await node.isReached(22), true);
  });

  it('is what traffic adds to a set that a rule fills', async () => {
    await node.sh(`nft -f - <<< 'table inet site {
      set seen { type ipv4_addr; flags timeout; }
      chain input { type filter hook input priority 0; tcp dport 22 update @seen { ip saddr timeout 1h }; }
    }'`);
    const reference = referenceOf(await node.read());
    assert.equal(await node.isReached(22), true);
    assert.match(await node.sh('nft list set inet site seen'), /10\.77\.0\.2/);
    assert.deepEqual(failing(judged(await node.read(), [reference])), []);
  });

  it('is no new connection whose address was translated: forbid tells of it (row 334)', async () => {
    await node.sh(`iptables-nft -P INPUT DROP
      iptables-nft -A INPUT -m conntrack --ctstate DNAT -j ACCEPT
      iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 22`);
    assert.equal(await node.isReached(80), true);
    const part = await node.read();
    const verdict = judged(part, [referenceOf(part)], ['forbid: [input tcp 22 from 0.0.0.0/0]']);
    assert.deepEqual(failing(verdict), ['fw_policy_open']);
  });

  it('is no match within a tunnel, which forbid takes for one that may hold (row 334)', async () => {
    await node.sh(`nft -f - <<< 'table ip site {
      chain input {
        type filter hook input priority 0; policy drop;
        udp dport 4789 vxlan tcp dport 22 accept
        udp dport 6081 geneve ip saddr 10.0.0.1 accept
        gre ip saddr 10.0.0.1 accept
      }
    }'`);
    const part = await node.read();
    for (const [opening, way] of [
      ['input udp 4789 from 0.0.0.0/0', 'udp dport 4789 vxlan tcp dport 22 accept'],
      ['input udp 6081 from 1.2.3.4', 'udp dport 6081 geneve ip saddr 10.0.0.1 accept'],
      ['input icmp from 1.2.3.4', 'gre ip saddr 10.0.0.1 accept'],
    ] as const) {
      const verdict = judged(part, [referenceOf(part)], [`forbid: ["${opening}"]`]);
      assert.deepEqual(failing(verdict), ['fw_policy_open'], opening);
      const shown = verdict.reasons.flatMap(({ detail }) => detail ?? []);
      assert(
        shown.some((line) => line.includes(way)),
        shown.join('\n'),
      );
    }
    const none = judged(part, [referenceOf(part)], ['forbid: [input tcp 22 from 0.0.0.0/0]']);
    // By GRE: whatever is in it, its own packet is not told apart from others.
    assert.deepEqual(failing(none), ['fw_policy_open']);
  });

  /** Each chain of a declared owner, with the way into it that its program makes. */
  const ways: readonly (readonly [what: string, load: string, chain: string, into: string])[] = [
    ...[
      ['kube-proxy', 'KUBE-SERVICES', '-m comment --comment "kubernetes service portals"'],
      ['the health ports of kube-proxy', 'KUBE-NODEPORTS', '-m addrtype --dst-type LOCAL'],
      ['kube-router', 'KUBE-ROUTER-SERVICES', ''],
      ['Calico', 'cali-PREROUTING', ''],
      ['Cilium', 'CILIUM_PRE_nat', ''],
      ['flannel', 'FLANNEL-PRE', ''],
      ['portmap', 'CNI-HOSTPORT-DNAT', '-m addrtype --dst-type LOCAL'],
      ['Docker', 'DOCKER', '-m addrtype --dst-type LOCAL'],
    ].map(
      ([what = '', chain = '', match = '']) => [what, `-t nat`, chain, `-A PREROUTING ${match}`] as const,
    ),
  ];
  const leadsNowhereElse = (program: string) => {
    for (const [what, table, chain, into] of ways)
      for (const [how, rule] of [
        ['a redirect', '-p tcp --dport 6443 -j REDIRECT --to-ports 2222'],
        ['a dnat to an address of the node', '-p tcp --dport 6443 -j DNAT --to-destination 10.77.0.1:2222'],
        ['a dnat to another port alone', '-p tcp --dport 6443 -j DNAT --to-destination :2222'],
      ])
        it(`is no way for ${how} by ${what}, of ${program} (row 335)`, async () => {
          await node.sh(`${program} ${table} -N ${chain}; ${program} ${table} ${into} -j ${chain}`);
          assert.equal(await node.isReached(6443), false);
          assert.deepEqual(await codesAfter(`${program} ${table} -A ${chain} ${rule}`), ['fw_drift']);
          assert.equal(await node.isReached(6443), true);
        });
  };
  leadsNowhereElse('iptables-nft');
  // After all others: these tables stay as long as the network.
  describe('by legacy tables', () => leadsNowhereElse('iptables-legacy'));

  for (const [chain, sends] of [
    ['CNI-DN-0123456789abcdef01234', 'CNI-HOSTPORT-DNAT'],
    ['DOCKER', null],
    ['cali-fip-dnat', 'cali-PREROUTING'],
  ] as const)
    it(`sends packets to no address of the node where it may send them to pods: ${chain} (row 335)`, async () => {
      const way =
        sends === null
          ? `iptables-nft -t nat -A PREROUTING -j ${chain}`
          : `iptables-nft -t nat -N ${sends}; iptables-nft -t nat -A PREROUTING -j ${sends}; iptables-nft -t nat -A ${sends} -j ${chain}`;
      await node.sh(`iptables-nft -t nat -N ${chain}; ${way}; ip address add 10.99.0.1/24 dev eth0`);
      const send = (to: string, port: number) =>
        `iptables-nft -t nat -A ${chain} -p tcp --dport ${port} -j DNAT --to-destination ${to}:2222`;
      assert.deepEqual(await codesAfter(send('10.99.0.7', 6444)), []);
      assert.deepEqual(await codesAfter(send('10.99.0.1', 6443)), ['fw_drift']);
      assert.equal(await node.isReached(6443), true);
    });

  it('notices an address that the node takes after a rule sent packets to it (row 335)', async () => {
    const chain = 'CNI-DN-0123456789abcdef01234';
    await node.sh(`iptables-nft -t nat -N ${chain}; iptables-nft -t nat -A PREROUTING -j ${chain}
      iptables-nft -t nat -A ${chain} -p tcp --dport 6443 -j DNAT --to-destination 10.99.0.7:2222`);
    assert.equal(await node.isReached(6443), false);
    assert.deepEqual(await codesAfter('ip address add 10.99.0.7/32 dev lo'), ['fw_drift']);
    assert.equal(await node.isReached(6443), true);
  });

  for (const [what, chain, rule] of [
    ['kube-proxy', 'KUBE-FIREWALL', '-p tcp --dport 22 -j ACCEPT'],
    ['the health ports of kube-proxy', 'KUBE-NODEPORTS', '-p tcp --dport 22 -j ACCEPT'],
    ['kube-router', 'KUBE-ROUTER-INPUT', '-p tcp --dport 22 -j ACCEPT'],
    ['Cilium', 'CILIUM_INPUT', '-p tcp --dport 22 -j ACCEPT'],
    ['flannel', 'FLANNEL-IN', '-p tcp --dport 22 -j ACCEPT'],
    ['plugins of CNI', 'CNI-FORWARD', '-p tcp --dport 22 -j ACCEPT'],
    ['Docker', 'DOCKER', '-p tcp --dport 22 -j ACCEPT'],
    ['a jump into a chain of nobody', 'KUBE-FIREWALL', '-p tcp --dport 22 -j SITE'],
    [
      'a target that its program does not use',
      'KUBE-FIREWALL',
      '-p tcp --dport 22 -j NFQUEUE --queue-bypass',
    ],
  ] as const)
    it(`is no way for an accept by ${what} (row 335)`, async () => {
      await node.sh(`iptables-nft -N ${chain}; iptables-nft -A INPUT -j ${chain}
        iptables-nft -N SITE; iptables-nft -A SITE -j ACCEPT; iptables-nft -P INPUT DROP`);
      assert.equal(await node.isReached(22), false);
      const codes = await codesAfter(`iptables-nft -A ${chain} ${rule}`, [
        'forbid: [input tcp 22 from 0.0.0.0/0]',
      ]);
      assert(codes.includes('fw_drift') && codes.includes('fw_policy_open'), codes.join());
      assert.equal(await node.isReached(22), true);
    });

  for (const [what, load, stray] of [
    [
      'what kube-proxy forwards by its mark',
      `iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -N KUBE-MARK-MASQ
       iptables-nft -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
       iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES; iptables-nft -N KUBE-FIREWALL; iptables-nft -A INPUT -j KUBE-FIREWALL
       iptables-nft -N KUBE-FORWARD; iptables-nft -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT`,
      `iptables-nft -t nat -A KUBE-SERVICES -p tcp --dport 22 -j KUBE-MARK-MASQ; iptables-nft -A KUBE-FIREWALL -j KUBE-FORWARD`,
    ],
    [
      'what Cilium forwards',
      `iptables-nft -N CILIUM_INPUT; iptables-nft -A INPUT -j CILIUM_INPUT; iptables-nft -N CILIUM_FORWARD`,
      `iptables-nft -A CILIUM_FORWARD -i eth0 -j ACCEPT; iptables-nft -A CILIUM_INPUT -j CILIUM_FORWARD`,
    ],
    [
      'what another owner forwards',
      `iptables-nft -N KUBE-FIREWALL; iptables-nft -A INPUT -j KUBE-FIREWALL; iptables-nft -N DOCKER`,
      `iptables-nft -A DOCKER -i eth0 -j ACCEPT; iptables-nft -A KUBE-FIREWALL -j DOCKER`,
    ],
    [
      'what netavark forwards',
      `iptables-nft -A FORWARD -j DROP`,
      `iptables-nft -N NETAVARK_FORWARD; iptables-nft -A NETAVARK_FORWARD -s 10.77.0.0/24 -j ACCEPT
       iptables-nft -A INPUT -m comment --comment "netavark firewall rules" -j NETAVARK_FORWARD`,
    ],
    [
      'a mark that every packet has',
      `iptables-nft -N CILIUM_INPUT; iptables-nft -A INPUT -j CILIUM_INPUT`,
      `iptables-nft -A CILIUM_INPUT -m mark --mark 0x0/0xf00 -j ACCEPT`,
    ],
    [
      'a mark of a connection',
      `iptables-nft -N CILIUM_INPUT; iptables-nft -A INPUT -j CILIUM_INPUT; iptables-nft -t mangle -N CILIUM_PRE_mangle
       iptables-nft -t mangle -A PREROUTING -j CILIUM_PRE_mangle; iptables-nft -A CILIUM_INPUT -m mark --mark 0x200/0xf00 -j ACCEPT`,
      `iptables-nft -t mangle -A CILIUM_PRE_mangle -p tcp --dport 22 -j CONNMARK --set-xmark 0x200/0xf00
       iptables-nft -t mangle -A CILIUM_PRE_mangle -j CONNMARK --restore-mark`,
    ],
  ] as const)
    it(`is no way to the node by ${what} (row 335)`, async () => {
      await node.sh(`iptables-nft -P INPUT DROP
        iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; ${load}`);
      assert.equal(await node.isReached(22), false);
      const codes = await codesAfter(stray);
      assert(codes.includes('fw_drift'), codes.join());
      assert.equal(await node.isReached(22), true);
    });

  it('is a health port of kube-proxy within the range of node ports alone (row 335)', async () => {
    await node.sh('iptables-nft -N KUBE-NODEPORTS; iptables-nft -A INPUT -j KUBE-NODEPORTS');
    const open = (port: number) =>
      `iptables-nft -A KUBE-NODEPORTS -p tcp -m comment --comment "ns/a:p health check node port" -m tcp --dport ${port} -j ACCEPT`;
    assert.deepEqual(await codesAfter(open(32_000)), []);
    assert.deepEqual(await codesAfter(open(2222)), ['fw_drift']);
  });

  for (const [table, chain] of [
    ['kube-proxy', 'services'],
    ['kube-proxy', 'nat-prerouting'],
    ['calico', 'nat-cali-PREROUTING'],
    ['calico', 'nat-PREROUTING'],
  ] as const)
    it(`is no way for a redirect by the table ${table}: ${chain} (row 335)`, async () => {
      const hooked = 'PREROUTING'.startsWith(chain.slice(4).toUpperCase()) ? chain : 'hooked';
      await node.sh(`nft add table ip ${table}
        nft add chain ip ${table} ${hooked} '{ type nat hook prerouting priority -100; }'
        nft add chain ip ${table} ${chain}; ${hooked === chain ? '' : `nft add rule ip ${table} ${hooked} jump ${chain}`}`);
      assert.equal(await node.isReached(6443), false);
      assert.deepEqual(
        await codesAfter(`nft add rule ip ${table} ${chain} tcp dport 6443 redirect to :2222`),
        ['fw_drift'],
      );
      assert.equal(await node.isReached(6443), true);
    });

  it('is no chain with a hook in a table of a declared owner (row 335)', async () => {
    await node.sh('nft add table ip kube-proxy');
    const codes =
      await codesAfter(`nft add chain ip kube-proxy more '{ type nat hook prerouting priority -90; }'
      nft add rule ip kube-proxy more tcp dport 6443 redirect to :2222`);
    assert.deepEqual(codes, ['fw_drift']);
    assert.equal(await node.isReached(6443), true);
  });

  it('is nothing that nft writes into a chain of a declared owner, and iptables cannot print (row 335)', async () => {
    await node.sh(`iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES`);
    const codes = await codesAfter('nft add rule ip nat KUBE-SERVICES tcp dport 6443 redirect to :2222');
    assert.deepEqual(codes, ['fw_drift']);
    assert.equal(await node.isReached(6443), true);
  });

  it('may be an endpoint of a Service, to which kube-proxy sends a port of the node (row 337)', async () => {
    await node.sh(`iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES
      iptables-nft -t nat -N KUBE-SEP-ABCDEFGHIJKLMNOP`);
    const codes = await codesAfter(`
      iptables-nft -t nat -A KUBE-SEP-ABCDEFGHIJKLMNOP -p tcp -j DNAT --to-destination 10.77.0.1:2222
      iptables-nft -t nat -A KUBE-SERVICES -d 10.77.0.1 -p tcp --dport 6443 -j KUBE-SEP-ABCDEFGHIJKLMNOP`);
    assert.deepEqual(codes, []);
    assert.equal(await node.isReached(6443), true);
  });
});
