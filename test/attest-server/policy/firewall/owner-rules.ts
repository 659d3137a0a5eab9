/**
 * Rules of programs that do not run here, in the form in which their own tests and pages have them; `shipped.ts` names
 * each source. Scripts, for a node with rules of its own.
 */
export interface OwnerRules {
  readonly name: string;
  /** What is there when the baseline is captured. */
  readonly load: string;
  /** What the program does then. */
  readonly add: string;
  /** What it never does: each alone. */
  readonly strays: readonly string[];
}

const restored = (table: string, lines: readonly string[], chains: readonly string[]) =>
  `iptables-nft-restore --noflush <<'RULES'\n*${table}\n${chains.map((chain) => `:${chain} - [0:0]\n`).join('')}${lines.map((line) => `${line}\n`).join('')}COMMIT\nRULES\n`;
const nft = (rules: string) => `nft -f - <<'RULES'\n${rules}\nRULES\n`;
const sendHere = (rule: string) => [
  `iptables-nft -t nat -A ${rule} -p tcp -m tcp --dport 6443 -j REDIRECT --to-ports 2222`,
  `iptables-nft -t nat -A ${rule} -p tcp -m tcp --dport 6443 -j DNAT --to-destination 10.77.0.1:2222`,
];

export const ownerRules: readonly OwnerRules[] = [
  {
    name: "Docker's nftables backend",
    load: nft(`table ip docker-bridges {
      map filter-forward-in-jumps { type ifname : verdict; }
      map filter-forward-out-jumps { type ifname : verdict; }
      map nat-postrouting-in-jumps { type ifname : verdict; }
      map nat-postrouting-out-jumps { type ifname : verdict; }
      chain nat-prerouting-and-output { }
      chain filter-FORWARD { type filter hook forward priority filter; oifname vmap @filter-forward-in-jumps; iifname vmap @filter-forward-out-jumps; }
      chain nat-OUTPUT { type nat hook output priority dstnat; ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output; }
      chain nat-POSTROUTING { type nat hook postrouting priority srcnat; iifname vmap @nat-postrouting-out-jumps; oifname vmap @nat-postrouting-in-jumps; }
      chain nat-PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local counter jump nat-prerouting-and-output; }
      chain raw-PREROUTING { type filter hook prerouting priority raw; }
    }`),
    add: nft(`table ip docker-bridges {
      chain filter-forward-in__br-0 {
        ct state established,related counter accept
        iifname "br-0" ip daddr 192.168.0.2 tcp dport 80 ct original ip daddr != 192.168.0.2 counter accept
        iifname "br-0" counter drop comment "ICC"
        ip daddr 192.168.0.2 tcp dport 80 counter accept
        counter drop comment "UNPUBLISHED PORT DROP"
      }
      chain filter-forward-out__br-0 {
        ct state established,related counter accept
        counter accept comment "OUTGOING"
      }
      chain nat-postrouting-in__br-0 { }
      chain nat-postrouting-out__br-0 {
        oifname != "br-0" ip saddr 192.168.0.0/24 counter masquerade comment "MASQUERADE"
      }
    }
    add rule ip docker-bridges nat-prerouting-and-output iifname != "br-0" tcp dport 8080 counter dnat to 192.168.0.2:80 comment "DNAT"
    add rule ip docker-bridges raw-PREROUTING ip daddr 192.168.0.2 iifname != "br-0" counter drop comment "DROP DIRECT ACCESS"
    add element ip docker-bridges filter-forward-in-jumps { "br-0" : jump filter-forward-in__br-0 }
    add element ip docker-bridges filter-forward-out-jumps { "br-0" : jump filter-forward-out__br-0 }
    add element ip docker-bridges nat-postrouting-in-jumps { "br-0" : jump nat-postrouting-in__br-0 }
    add element ip docker-bridges nat-postrouting-out-jumps { "br-0" : jump nat-postrouting-out__br-0 }`),
    strays: [
      `nft add rule ip docker-bridges nat-prerouting-and-output tcp dport 6443 redirect to :2222`,
      `nft add rule ip docker-bridges nat-prerouting-and-output 'iifname != "br-0" tcp dport 6443 dnat to 10.77.0.1:2222 comment "DNAT"'`,
      `nft add element ip docker-bridges filter-forward-in-jumps '{ "eth0" : accept }'`,
      `nft add chain ip docker-bridges more '{ type filter hook input priority 0; policy accept; }'`,
      `nft add rule ip docker-bridges filter-forward-in__br-0 jump filter-forward-out__br-0`,
    ],
  },
  {
    name: 'portmap by nft',
    load: '',
    add: nft(`table ip cni_hostport {
      comment "CNI portmap plugin"
      chain hostports {
        ip protocol tcp th dport 8080 dnat ip addr . port to 10.88.0.2 . 80 comment "abc"
      }
      chain hostip_hostports {
        ip daddr 10.1.2.3 ip protocol udp th dport 8053 dnat ip addr . port to 10.88.0.2 . 53 comment "abc"
      }
      chain prerouting { type nat hook prerouting priority dstnat; jump hostip_hostports; jump hostports; }
      chain output { type nat hook output priority -100; jump hostip_hostports; fib daddr type local jump hostports; }
      chain masquerading {
        type nat hook postrouting priority srcnat
        ip saddr 10.88.0.2 ip daddr 10.88.0.2 masquerade comment "abc"
        ip saddr 127.0.0.1 ip daddr 10.88.0.2 masquerade comment "abc"
      }
    }`),
    strays: [
      'nft add rule ip cni_hostport hostports tcp dport 6443 redirect to :2222',
      `nft add rule ip cni_hostport hostports 'tcp dport 6443 dnat to 10.77.0.1:2222 comment "abc"'`,
      `nft add rule ip cni_hostport prerouting 'tcp dport 6443 redirect to :2222'`,
      `nft add chain ip cni_hostport more '{ type filter hook input priority 0; policy accept; }'`,
    ],
  },
  {
    name: 'Azure NPM',
    load: restored(
      'filter',
      [
        '-A FORWARD -m conntrack --ctstate NEW -j AZURE-NPM',
        '-A AZURE-NPM -j AZURE-NPM-INGRESS',
        '-A AZURE-NPM -j AZURE-NPM-EGRESS',
        '-A AZURE-NPM -j AZURE-NPM-ACCEPT',
        '-A AZURE-NPM-INGRESS -j DROP -m mark --mark 0x400/0x400 -m comment --comment DROP-ON-INGRESS-DROP-MARK-0x400/0x400',
        '-A AZURE-NPM-INGRESS-ALLOW-MARK -j MARK --set-mark 0x200/0x200 -m comment --comment SET-INGRESS-ALLOW-MARK-0x200/0x200',
        '-A AZURE-NPM-INGRESS-ALLOW-MARK -j AZURE-NPM-EGRESS',
        '-A AZURE-NPM-EGRESS -j AZURE-NPM-ACCEPT -m mark --mark 0x200/0x200 -m comment --comment ACCEPT-ON-INGRESS-ALLOW-MARK-0x200/0x200',
        '-A AZURE-NPM-ACCEPT -j ACCEPT',
      ],
      [
        'AZURE-NPM',
        'AZURE-NPM-INGRESS',
        'AZURE-NPM-EGRESS',
        'AZURE-NPM-ACCEPT',
        'AZURE-NPM-INGRESS-ALLOW-MARK',
      ],
    ),
    add: restored(
      'filter',
      [
        '-I AZURE-NPM-INGRESS -m comment --comment INGRESS-POLICY-NS/A -j AZURE-NPM-INGRESS-1234567',
        '-A AZURE-NPM-INGRESS-1234567 -p tcp -m tcp --dport 80 -m comment --comment ALLOW-ALL -j AZURE-NPM-INGRESS-ALLOW-MARK',
        '-A AZURE-NPM-INGRESS-1234567 -m comment --comment DROP-ALL -j MARK --set-mark 0x400/0x400',
      ],
      ['AZURE-NPM-INGRESS-1234567'],
    ),
    strays: [
      'iptables-nft -A AZURE-NPM-INGRESS -j ACCEPT',
      'iptables-nft -A INPUT -j AZURE-NPM-ACCEPT',
      'iptables-nft -N SITE; iptables-nft -A AZURE-NPM -j SITE',
    ],
  },
  {
    name: 'Antrea',
    load: '',
    add: `${restored(
      'filter',
      [
        '-A FORWARD -m comment --comment "Antrea: jump to Antrea forwarding rules" -j ANTREA-FORWARD',
        '-A INPUT -m comment --comment "Antrea: jump to Antrea input rules" -j ANTREA-INPUT',
        '-A ANTREA-FORWARD -m comment --comment "Antrea: accept packets from local Pods" -i antrea-gw0 -j ACCEPT',
        '-A ANTREA-FORWARD -m comment --comment "Antrea: accept packets to local Pods" -o antrea-gw0 -j ACCEPT',
        '-A ANTREA-INPUT -m comment --comment "Antrea: jump to static ingress NodeNetworkPolicy rules" -j ANTREA-POL-PRE-INGRESS-RULES',
        '-A ANTREA-POL-PRE-INGRESS-RULES -m conntrack --ctstate ESTABLISHED,RELATED -m comment --comment "Antrea: allow ingress established or related packets" -j ACCEPT',
        '-A ANTREA-POL-PRE-INGRESS-RULES -i lo -m comment --comment "Antrea: allow ingress packets from loopback" -j ACCEPT',
      ],
      ['ANTREA-FORWARD', 'ANTREA-INPUT', 'ANTREA-POL-PRE-INGRESS-RULES'],
    )}${restored(
      'nat',
      [
        '-A POSTROUTING -m comment --comment "Antrea: jump to Antrea postrouting rules" -j ANTREA-POSTROUTING',
        '-A ANTREA-POSTROUTING -s 172.16.10.0/24 ! -o antrea-gw0 -m comment --comment "Antrea: masquerade Pod to external packets" -j MASQUERADE',
        '-A ANTREA-POSTROUTING ! -o antrea-gw0 -m mark --mark 0x1/0xff -m comment --comment "Antrea: SNAT Pod to external packets" -j SNAT --to-source 1.1.1.1',
        '-A ANTREA-POSTROUTING -o antrea-gw0 -m comment --comment "Antrea: masquerade LOCAL traffic" -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully',
      ],
      ['ANTREA-POSTROUTING'],
    )}`,
    strays: [
      'iptables-nft -A ANTREA-INPUT -p tcp --dport 22 -j ACCEPT',
      'iptables-nft -A ANTREA-POL-PRE-INGRESS-RULES -i eth0 -j ACCEPT',
      'iptables-nft -t nat -N ANTREA-PREROUTING; iptables-nft -t nat -A ANTREA-PREROUTING -p tcp --dport 6443 -j REDIRECT --to-ports 2222',
      'iptables-nft -A INPUT -p tcp -j ANTREA-FORWARD',
    ],
  },
  {
    name: 'Weave',
    load: restored(
      'filter',
      [
        '-A FORWARD -o weave -j WEAVE-NPC',
        '-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT',
        '-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT',
        '-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS',
      ],
      ['WEAVE-NPC', 'WEAVE-NPC-DEFAULT', 'WEAVE-NPC-INGRESS'],
    ),
    add: `${restored('filter', ['-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-EGRESS-CUSTOM', '-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark 0x40000/0x40000'], ['WEAVE-NPC-EGRESS-CUSTOM', 'WEAVE-NPC-EGRESS-ACCEPT'])}${restored('nat', ['-A WEAVE -s 10.32.0.0/12 -d 224.0.0.0/4 -j RETURN', '-A WEAVE ! -s 10.32.0.0/12 -d 10.32.0.0/12 -j MASQUERADE'], ['WEAVE'])}`,
    strays: [
      'iptables-nft -A WEAVE-NPC-DEFAULT -j ACCEPT',
      'iptables-nft -A WEAVE-NPC-INGRESS -p tcp --dport 22 -j ACCEPT',
      'iptables-nft -A INPUT -j WEAVE-NPC-INGRESS',
      ...sendHere('WEAVE'),
    ],
  },
  {
    name: 'OVN-Kubernetes',
    load: restored(
      'nat',
      [
        '-A PREROUTING -j OVN-KUBE-EXTERNALIP',
        '-A PREROUTING -j OVN-KUBE-NODEPORT',
        '-A POSTROUTING -j OVN-KUBE-EGRESS-SVC',
      ],
      ['OVN-KUBE-EXTERNALIP', 'OVN-KUBE-NODEPORT', 'OVN-KUBE-EGRESS-SVC'],
    ),
    add: restored(
      'nat',
      [
        '-A OVN-KUBE-NODEPORT -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 31787 -j DNAT --to-destination 169.254.169.3:31787',
        '-A OVN-KUBE-EXTERNALIP -d 192.168.122.150/32 -p tcp -m tcp --dport 6000 -j DNAT --to-destination 10.43.127.6:6000',
        '-A OVN-KUBE-EGRESS-SVC -s 10.244.0.3/32 -m comment --comment default/some-service -j SNAT --to-source 172.19.0.100',
      ],
      [],
    ),
    strays: [
      'iptables-nft -t nat -A OVN-KUBE-NODEPORT -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 6443 -j DNAT --to-destination 10.43.127.6:6443',
      ...sendHere('OVN-KUBE-NODEPORT'),
      'iptables-nft -t nat -A PREROUTING -p tcp -j OVN-KUBE-NODEPORT',
    ],
  },
  {
    name: 'the nft plugins of CNI for Podman',
    load: `nft flush ruleset; ${nft(`table ip nat {
      chain postrouting { type nat hook postrouting priority srcnat; }
      chain prerouting { type nat hook prerouting priority dstnat; }
    }
    table ip filter {
      chain forward {
        type filter hook forward priority filter; policy drop
        log prefix "ip4 forward drop: "
        counter drop
      }
    }`)}`,
    add: nft(`table ip nat {
      chain cni-npo-78f486a1c7999cfe8e0526d {
        iifname "cni-podman0" ip saddr 10.88.0.7 ip daddr 224.0.0.0/24 counter return
        iifname "cni-podman0" ip saddr 10.88.0.7 ip daddr 255.255.255.255 counter return
        iifname "cni-podman0" ip saddr 10.88.0.7 counter masquerade
      }
      chain cni-npr-78f486a1c7999cfe8e0526d {
        iifname != "cni-podman0" tcp dport 46063 dnat to 10.88.0.7:80
      }
    }
    insert rule ip nat postrouting jump cni-npo-78f486a1c7999cfe8e0526d
    insert rule ip nat prerouting jump cni-npr-78f486a1c7999cfe8e0526d
    insert rule ip filter forward oifname "cni-podman0" ip daddr 10.88.0.7 tcp dport 80 counter accept`),
    strays: [
      `nft add rule ip nat cni-npr-78f486a1c7999cfe8e0526d 'iifname != "cni-podman0" tcp dport 6443 dnat to 10.77.0.1:2222'`,
      'nft add rule ip nat cni-npr-78f486a1c7999cfe8e0526d tcp dport 6443 redirect to :2222',
      'nft add rule ip nat prerouting tcp dport 6443 redirect to :2222',
      'nft insert rule ip filter forward accept',
    ],
  },
];
