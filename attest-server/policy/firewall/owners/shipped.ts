import { type Owner, parseOwner, type ShippedOwner } from './owner.ts';

const cni = 'containernetworking/plugins v1.1.1 and v1.6, plugins/meta/portmap and firewall; Debian 13';
const netavark = 'containers/netavark v1.14, src/firewall; Debian 13';
const docker27 = 'moby/moby v26.1, libnetwork/drivers/bridge and iptables; Debian 13';
const dockerNft =
  'moby/moby 02dc32296224, daemon/libnetwork/drivers/bridge/internal/nftabler/testdata/TestNftabler';
const azure = 'Azure/azure-container-networking, npm/pkg/dataplane/policies/chain-management_linux_test.go';
const antrea = 'antrea-io/antrea, pkg/agent/route/route_linux_test.go';
const weave = 'weaveworks/weave, npc/README.md and net/bridge.go';
const ovn = 'ovn-org/ovn-kubernetes, docs/design/service-traffic-policy.md and egress service docs';
const greenpau = 'greenpau/cni-plugins b50f539ee2da, testdata/portmap/nftables/config2.nft';

/** Rules that fail2ban puts before others lead into chains that can only close. */
const fail2ban = 'fail2ban 1.1.0, config/action.d/iptables.conf and nftables.conf; Debian 13';

const written: readonly ShippedOwner[] = [
  {
    name: 'fail2ban',
    source: fail2ban,
    chains: ['ip,ip6 filter f2b-<word>'],
    rules: ['-s <address> -j REJECT --reject-with <word>', '-s <address> -j DROP', '-j RETURN'],
  },
  {
    name: 'fail2ban',
    source: fail2ban,
    within: true,
    chains: ['ip,ip6 filter <INPUT|FORWARD|DOCKER-USER>'],
    rules: [
      '-p <protocol> -m multiport --dports <ports> -j f2b-<word>',
      '-p <protocol> -m <protocol> --dport <ports> -j f2b-<word>',
      '-p <protocol> -j f2b-<word>',
      '-j f2b-<word>',
    ],
  },
  {
    name: 'fail2ban',
    source: fail2ban,
    chains: ['inet,ip,ip6 f2b-table f2b-chain'],
    hooks: ['type filter hook input priority -1 policy accept'],
    sets: ['inet,ip,ip6 f2b-table addr-set-<word>', 'inet,ip,ip6 f2b-table addr6-set-<word>'],
    rules: ['<protocol> dport <ports>', 'meta l4proto <protocol>'].flatMap((match) =>
      ['ip saddr @addr-set-<word>', 'ip6 saddr @addr6-set-<word>'].flatMap((from) =>
        ['drop', 'reject', 'reject with <icmp|icmpv6|icmpx> port-unreachable'].map(
          (verdict) => `${match} ${from} ${verdict}`,
        ),
      ),
    ),
  },
  {
    name: 'docker',
    source: docker27,
    within: true,
    chains: ['ip,ip6 filter FORWARD'],
    rules: [
      '-o br-<hex 12> -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      '-o br-<hex 12> -j DOCKER',
      '-i br-<hex 12> ! -o br-<same> -j ACCEPT',
      '-i br-<hex 12> -o br-<same> -j ACCEPT',
      '-i br-<hex 12> -o br-<same> -j DROP',
    ],
  },
  {
    name: 'docker',
    source: docker27,
    within: true,
    chains: ['ip,ip6 nat POSTROUTING'],
    rules: [
      '-s <private> ! -o br-<hex 12> -j MASQUERADE',
      '-s <address> -d <same> -p <protocol> -m <protocol> --dport <port> -j MASQUERADE',
    ],
  },
  ...(['ip', 'ip6'] as const).map(
    (ip): ShippedOwner => ({
      name: 'docker',
      source: dockerNft,
      chains: [
        `${ip} docker-bridges filter-forward-in__<interface>`,
        `${ip} docker-bridges filter-forward-out__<interface>`,
        `${ip} docker-bridges nat-prerouting-and-output`,
        `${ip} docker-bridges nat-postrouting-in__<interface>`,
        `${ip} docker-bridges nat-postrouting-out__<interface>`,
      ],
      sets: [`${ip} docker-bridges <filter-forward|nat-postrouting>-<in|out>-jumps`],
      rules: [
        'ct state established,related accept',
        `iifname "<interface>" ${ip} daddr <address> <protocol> dport <port> ct original ${ip} daddr != <address> accept`,
        'iifname "<interface>" drop comment <comment>',
        'iifname "<interface>" accept comment <comment>',
        `${ip} daddr <address> <protocol> dport <port> accept`,
        'drop comment <comment>',
        'accept comment "OUTGOING"',
        `iifname != "<interface>" <protocol> dport <port> dnat to <inner> comment <comment>`,
        `${ip} daddr <address> iifname != "<interface>" <protocol> dport <port> dnat to <inner> comment <comment>`,
        `iifname != "<interface>" ${ip} daddr <address> <protocol> dport <port> dnat to <inner> comment <comment>`,
        `oifname != "<interface>" ${ip} saddr <private> masquerade comment <comment>`,
        `${ip} saddr <address> ${ip} daddr <same> <protocol> dport <port> masquerade comment <comment>`,
        '<interface> : jump <filter-forward|nat-postrouting>-<in|out>__<same>',
      ],
    }),
  ),
  {
    name: 'docker',
    source: dockerNft,
    within: true,
    chains: ['ip,ip6 docker-bridges raw-PREROUTING'],
    rules: ['<ip|ip6> daddr <address> iifname != "<interface>" drop comment <comment>'],
  },
  {
    name: 'portmap',
    source: cni,
    within: true,
    heldOnly: true,
    chains: ['ip,ip6 nat <PREROUTING|OUTPUT>'],
    rules: ['-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT'],
  },
  {
    name: 'portmap',
    source: cni,
    within: true,
    heldOnly: true,
    chains: ['ip,ip6 nat POSTROUTING'],
    rules: ['-m comment --comment <comment> -j CNI-HOSTPORT-MASQ', '-j CNI-HOSTPORT-MASQ'],
  },
  {
    name: 'cni-firewall',
    source: cni,
    within: true,
    heldOnly: true,
    chains: ['ip,ip6 filter FORWARD'],
    rules: ['-m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'],
  },
  {
    name: 'portmap',
    source: cni,
    chains: [
      'ip,ip6 cni_hostport <prerouting|output|masquerading>',
      'ip,ip6 cni_hostport <hostports|hostip_hostports|hostports_all>',
    ],
    hooks: [
      'type nat hook prerouting priority -100 policy accept',
      'type nat hook output priority -100 policy accept',
      'type nat hook postrouting priority 100 policy accept',
    ],
    rules: [
      'jump <hostports|hostip_hostports|hostports_all>',
      'fib daddr type local jump <hostports|hostip_hostports|hostports_all>',
      ...['<protocol> dport <port>', '<ip|ip6> daddr <address> <protocol> dport <port>'].flatMap((match) =>
        ['dnat', 'dnat ip', 'dnat ip6', 'dnat ip addr . port', 'dnat ip6 addr . port'].map(
          (dnat) => `${match} ${dnat} to <elsewhere> comment <comment>`,
        ),
      ),
      '<ip|ip6> saddr <address> <ip|ip6> daddr <address> masquerade comment <comment>',
    ],
  },
  // Each from its own chain: what netavark forwards it does not let into the node.
  ...['INPUT', 'FORWARD'].map(
    (chain): ShippedOwner => ({
      name: 'netavark',
      source: netavark,
      within: true,
      chains: [`ip,ip6 filter ${chain}`],
      rules: [`-m comment --comment "netavark firewall rules" -j NETAVARK_${chain}`],
    }),
  ),
  {
    name: 'netavark',
    source: netavark,
    within: true,
    chains: ['ip,ip6 nat <PREROUTING|OUTPUT>'],
    rules: ['-m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT'],
  },
  {
    name: 'netavark',
    source: netavark,
    within: true,
    chains: ['ip,ip6 nat POSTROUTING'],
    rules: ['-j NETAVARK-HOSTPORT-MASQ', '-s <private> -j NETAVARK-<hex 13>'],
  },
  {
    name: 'netavark',
    source: netavark,
    chains: ['ip,ip6 filter NETAVARK_<INPUT|FORWARD>', 'ip,ip6 filter NETAVARK_ISOLATION_<number>'],
    rules: [
      '-m conntrack --ctstate INVALID -j DROP',
      '-d <private> -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      '-s <private> -p <tcp|udp> -m <tcp|udp> --dport 53 -j ACCEPT',
      '<matches> -j NETAVARK_ISOLATION_<number>',
      '-o <interface> -j DROP',
    ],
  },
  {
    name: 'netavark',
    source: netavark,
    // Of packets that are forwarded alone.
    chains: ['ip,ip6 filter NETAVARK_FORWARD'],
    rules: ['-s <private> -j ACCEPT'],
  },
  {
    name: 'netavark',
    source: netavark,
    chains: [
      'ip,ip6 nat NETAVARK-<hex 13>',
      'ip,ip6 nat NETAVARK-DN-<hex 13>',
      'ip,ip6 nat NETAVARK-HOSTPORT-<DNAT|MASQ|SETMARK>',
    ],
    rules: [
      '-d <private> -j ACCEPT',
      '! -d <224.0.0.0/4|ff00::/8|::/8> -j MASQUERADE',
      '<matches> -j NETAVARK-HOSTPORT-SETMARK',
      '<matches> -j NETAVARK-DN-<hex 13>',
      '-p <protocol> -m <protocol> --dport <ports> -j DNAT --to-destination <inner>',
      '-d <address> -p <protocol> -m <protocol> --dport <ports> -j DNAT --to-destination <inner>',
      '-m comment --comment <comment> -m mark --mark 0x2000/0x2000 -j MASQUERADE',
      '-j MARK --set-xmark 0x2000/0x2000',
    ],
  },
  {
    name: 'netavark',
    source: netavark,
    chains: [
      'inet netavark <INPUT|FORWARD|PREROUTING|OUTPUT|POSTROUTING>',
      'inet netavark NETAVARK-HOSTPORT-<DNAT|SETMARK>',
      'inet netavark NETAVARK-ISOLATION-<number>',
      'inet netavark nv_<word>',
    ],
    hooks: [
      'type filter hook input priority 0 policy accept',
      'type filter hook forward priority 0 policy accept',
      'type nat hook prerouting priority -100 policy accept',
      'type nat hook output priority -100 policy accept',
      'type nat hook postrouting priority 100 policy accept',
    ],
    // An accept of this table alone lets nothing in: each chain at a hook is asked.
    rules: [
      '<ip|ip6> saddr <private> meta l4proto { tcp, udp } th dport 53 accept',
      'ct state invalid drop',
      'jump NETAVARK-ISOLATION-<number>',
      '<ip|ip6> daddr <private> ct state established,related accept',
      '<ip|ip6> saddr <private> accept',
      'meta mark & 0x00002000 == 0x00002000 masquerade',
      '<ip|ip6> saddr <private> jump nv_<word>',
      'fib daddr type local jump NETAVARK-HOSTPORT-DNAT',
      'meta mark set meta mark | 0x00002000',
      'oifname "<interface>" drop',
      '<ip|ip6> daddr <private> accept',
      '<ip|ip6> daddr != <224.0.0.0/4|ff00::/8|::/8> masquerade',
      '<protocol> dport <ports> jump nv_<word>_dnat',
      '<ip|ip6> daddr <address> <protocol> dport <ports> jump nv_<word>_dnat',
      '<ip|ip6> saddr <net> <protocol> dport <ports> jump NETAVARK-HOSTPORT-SETMARK',
      '<ip|ip6> saddr <net> <ip|ip6> daddr <address> <protocol> dport <ports> jump NETAVARK-HOSTPORT-SETMARK',
      '<protocol> dport <ports> dnat <ip|ip6> to <inner>',
      '<ip|ip6> daddr <address> <protocol> dport <ports> dnat <ip|ip6> to <inner>',
    ],
  },
  {
    name: 'azure-npm',
    source: azure,
    within: true,
    chains: ['ip filter FORWARD'],
    rules: ['-m conntrack --ctstate NEW -j AZURE-NPM', '-j AZURE-NPM'],
  },
  {
    name: 'azure-npm',
    source: azure,
    chains: ['ip filter AZURE-NPM', 'ip filter AZURE-NPM-<word>'],
    rules: [
      '<matches> -j AZURE-NPM-<word>',
      '<matches> -j MARK --set-xmark <mark>',
      '<matches> -j DROP',
      '<matches> -j RETURN',
    ],
  },
  {
    name: 'azure-npm',
    source: azure,
    chains: ['ip filter AZURE-NPM-ACCEPT'],
    rules: ['-j ACCEPT'],
  },
  ...['INPUT', 'FORWARD', 'OUTPUT', 'PREROUTING', 'POSTROUTING'].map(
    (chain): ShippedOwner => ({
      name: 'antrea',
      source: antrea,
      within: true,
      chains: ['filter', 'nat', 'mangle', 'raw'].map((table) => `ip,ip6 ${table} ${chain}`),
      rules: [
        `-m comment --comment <comment> -j ANTREA-${chain}`,
        ...(chain === 'PREROUTING' ? ['-m comment --comment <comment> -j ANTREA-MANGLE'] : []),
      ],
    }),
  ),
  {
    name: 'antrea',
    source: antrea,
    chains: ['ip,ip6 filter ANTREA-FORWARD'],
    rules: ['<-i|-o> antrea-gw0 -m comment --comment <comment> -j ACCEPT'],
  },
  {
    name: 'antrea',
    source: antrea,
    // Rules of policies for nodes stand in ANTREA-POL-INGRESS-RULES, and are compared.
    chains: ['ip,ip6 filter ANTREA-<INPUT|OUTPUT>', 'ip,ip6 filter ANTREA-POL-PRE-<INGRESS|EGRESS>-RULES'],
    rules: [
      '-m comment --comment <comment> -j ANTREA-POL-<word>',
      '<-i|-o> lo -m comment --comment <comment> -j ACCEPT',
      '-m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment <comment> -j ACCEPT',
    ],
  },
  {
    name: 'antrea',
    source: antrea,
    chains: ['ip,ip6 mangle ANTREA-<MANGLE|OUTPUT>', 'ip,ip6 raw ANTREA-<PREROUTING|OUTPUT>'],
    rules: [
      '<matches> -j MARK --set-xmark 0x80000000/0x80000000',
      '<matches> -j DROP',
      '-p udp -m comment --comment <comment> -m udp --dport <port> -m addrtype <--dst-type|--src-type> LOCAL -j NOTRACK',
      '-p udp -m comment --comment <comment> -m udp --dport <port> -m addrtype <--dst-type|--src-type> LOCAL -j CT --notrack',
    ],
  },
  {
    name: 'antrea',
    source: antrea,
    chains: ['ip,ip6 nat ANTREA-<PREROUTING|OUTPUT|POSTROUTING>'],
    rules: [
      '-m comment --comment <comment> -m set --match-set ANTREA-NODEPORT-<IP|IP6> dst,dst -j DNAT --to-destination <elsewhere>',
      '<matches> -j MASQUERADE',
      '<matches> -j MASQUERADE --random-fully',
      '<matches> -j SNAT --to-source <address>',
    ],
  },
  {
    name: 'weave',
    source: weave,
    chains: ['ip filter WEAVE-NPC', 'ip filter WEAVE-NPC-<word>'],
    rules: [
      '-m state --state RELATED,ESTABLISHED -j ACCEPT',
      '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      '<matches> -j WEAVE-NPC-<word>',
      '<matches> -m set --match-set <comment> dst <matches> -j ACCEPT',
      '<matches> -m set --match-set weave-<set> dst <matches> -j ACCEPT',
      '<matches> -j RETURN',
      '<matches> -j DROP',
      '-j MARK --set-xmark 0x40000/0x40000',
    ],
  },
  {
    name: 'weave',
    source: weave,
    chains: ['ip nat WEAVE'],
    rules: ['<matches> -j MASQUERADE', '<matches> -j RETURN'],
  },
  {
    name: 'ovn-kubernetes',
    source: ovn,
    chains: ['ip,ip6 nat OVN-KUBE-<NODEPORT|EXTERNALIP|ETP>'],
    rules: [
      '-p <protocol> -m addrtype --dst-type LOCAL -m <protocol> --dport <nodeport> -j DNAT --to-destination <elsewhere>',
      '-d <address> -p <protocol> -m <protocol> --dport <port> -j DNAT --to-destination <elsewhere>',
    ],
  },
  {
    name: 'ovn-kubernetes',
    source: ovn,
    chains: [
      'ip,ip6 nat OVN-KUBE-SNAT-MGMTPORT',
      'ip,ip6 nat OVN-KUBE-EGRESS-<SVC|IP-MULTI-NIC>',
      'ip,ip6 mangle OVN-KUBE-EGRESS-SVC',
    ],
    rules: [
      '<matches> -j RETURN',
      '<matches> -j SNAT --to-source <address>',
      '-s <address> -j MARK --set-xmark <mark>',
      '-s <address> -m comment --comment <comment> -j MARK --set-xmark <mark>',
    ],
  },
  {
    name: 'cni-nftables',
    source: greenpau,
    within: true,
    chains: ['ip,ip6 nat <prerouting|postrouting>'],
    rules: ['jump cni-<npo|npr>-<hex 23>'],
  },
  {
    name: 'cni-nftables',
    source: greenpau,
    within: true,
    chains: ['ip,ip6 filter forward'],
    rules: ['oifname "cni-<word>" <ip|ip6> daddr <address> <protocol> dport <port> accept'],
  },
  {
    name: 'cni-nftables',
    source: greenpau,
    chains: ['ip,ip6 nat cni-<npo|npr>-<hex 23>'],
    rules: [
      'iifname "<interface>" <ip|ip6> saddr <address> <ip|ip6> daddr <net> return',
      'iifname "<interface>" <ip|ip6> saddr <address> masquerade',
      'iifname != "<interface>" <protocol> dport <port> dnat to <inner>',
    ],
  },
];

export const shippedOwners: readonly Owner[] = written.map((one) => {
  const owner = parseOwner(one);
  if (typeof owner === 'string') throw new Error(`the shipped owner ${one.name}: ${owner}`);
  return owner;
});

/** By name, where the forms of each are known from. */
export const shippedSources: ReadonlyMap<string, readonly string[]> = new Map(
  [...new Set(written.map(({ name }) => name))].map((name) => [
    name,
    [...new Set(written.filter((one) => one.name === name).map(({ source }) => source))],
  ]),
);
