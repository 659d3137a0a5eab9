import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import { z } from 'zod';
import { type FirewallPart, firewallPart } from '../../../../attest-server/wire/firewall.ts';
import { type Inside, openInside } from './inside.ts';
import { failing, judged, recordedNode, referenceOf } from './made-firewall.ts';

type Step = readonly string[] | 'show';

let inside: Inside;

/** What the real programs print in a network namespace, which has no rules before these steps. */
async function shownAfter(...steps: readonly Step[]): Promise<readonly FirewallPart[]> {
  if (!steps.some(([program]) => program === 'iptables-legacy')) return shownIn(inside, steps);
  // Its tables stay as long as their network.
  await using own = await openInside();
  return await shownIn(own, steps);
}

async function shownIn(inside: Inside, steps: readonly Step[]): Promise<readonly FirewallPart[]> {
  const shown: unknown[] = [];
  for (const step of steps)
    if (step === 'show') shown.push(await inside.ask({ show: true }));
    else await inside.ask({ run: [...step] });
  return z.array(firewallPart).parse(shown);
}

const kube = ['iptables-nft-restore', join(recordedNode('kube-proxy-iptables'), 'rules.restore')];
const kubeNft = ['nft', '-f', join(recordedNode('kube-proxy-nftables'), 'rules.nft')];
const calico = ['iptables-nft-restore', join(recordedNode('calico-host'), 'rules.restore')];
const calicoNft = ['nft', '-f', join(recordedNode('calico-host-nftables'), 'rules.nft')];
const cilium = ['iptables-nft-restore', join(recordedNode('cilium'), 'rules.restore')];
const words = (line: string) => line.split(' ');
const ip = (line: string) => ['iptables-nft', ...words(line)];
const nft = (line: string) => ['nft', ...words(line)];

interface Case {
  readonly what: string;
  readonly steps: readonly Step[];
  readonly codes: readonly string[];
}

/** Judged beside what was there before the steps. */
function judges(name: string, load: readonly string[], cases: readonly Case[]): void {
  describe(name, () => {
    for (const { what, steps, codes } of cases)
      it(`${what}: ${codes.join(', ') || 'no alarm'}`, async () => {
        const [before, now] = await shownAfter(load, 'show', ...steps, 'show');
        assert.ok(before !== undefined && now !== undefined);
        assert.deepEqual(failing(judged(now, [referenceOf(before)])), codes);
      });
  });
}

describe('real rules in a network namespace', function () {
  this.timeout(60_000);

  before(async () => {
    inside = await openInside();
  });
  afterEach(async () => {
    await inside.ask({ run: ['nft', 'flush', 'ruleset'] });
  });
  after(() => inside[Symbol.asyncDispose]());

  judges('with kube-proxy in iptables mode', kube, [
    {
      what: 'a service is added, with traffic (row 62)',
      steps: [
        ip('-t nat -N KUBE-SVC-4SW47YFZTEDKD3PK'),
        ip('-t nat -N KUBE-SEP-UKSFD7AGPMPPLUHC'),
        ip('-t nat -A KUBE-SVC-4SW47YFZTEDKD3PK -j KUBE-SEP-UKSFD7AGPMPPLUHC'),
        ip('-t nat -I KUBE-SERVICES -d 172.30.0.44 -p tcp --dport 80 -j KUBE-SVC-4SW47YFZTEDKD3PK'),
        ip('-A KUBE-SERVICES -d 172.30.0.47 -p tcp --dport 80 -j REJECT'),
      ],
      codes: [],
    },
    {
      what: 'endpoints change and a service goes (row 62)',
      steps: [
        ip('-t nat -F KUBE-SEP-SXIVWICOYRO3J4NJ'),
        ip('-t nat -A KUBE-SEP-SXIVWICOYRO3J4NJ -p tcp -j DNAT --to-destination 10.180.0.9:80'),
        ip('-t nat -F KUBE-SVC-X27LE4BHSL4DOUIK'),
      ],
      codes: [],
    },
    {
      what: 'an ACCEPT is put first (row 61)',
      steps: [ip('-I INPUT -p tcp --dport 22 -j ACCEPT')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'a policy turns to ACCEPT (row 61)',
      steps: [ip('-P INPUT ACCEPT')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'a policy turns to ACCEPT by nft itself (row 61)',
      steps: [['nft', 'chain ip filter INPUT { policy accept ; }']],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'a legacy table is added (row 60)',
      steps: [words('iptables-legacy -A INPUT -p tcp --dport 22 -j ACCEPT')],
      codes: ['dual_tables', 'fw_drift'],
    },
    {
      what: 'IPv6 gets rules of its own (row 60)',
      steps: [words('ip6tables-nft -A INPUT -p tcp --dport 22 -j ACCEPT')],
      codes: ['fw_drift'],
    },
    {
      what: 'the jump into an owned chain is removed',
      steps: [ip('-D INPUT -j KUBE-FIREWALL')],
      codes: ['fw_drift'],
    },
    {
      what: 'the jump into an owned chain moves (row 61)',
      steps: [ip('-D INPUT -j KUBE-FIREWALL'), ip('-A INPUT -j KUBE-FIREWALL')],
      codes: ['fw_drift'],
    },
    {
      what: 'a chain of nft stands in the table of iptables, which iptables does not show',
      steps: [['nft', 'add chain ip filter extra { type filter hook input priority -5 ; policy accept ; }']],
      codes: ['fw_drift'],
    },
    {
      what: 'all is flushed (row 61)',
      steps: [['nft', 'flush', 'ruleset']],
      codes: ['fw_drift', 'fw_missing_chain', 'fw_policy_open'],
    },
    {
      what: 'the table sleeps',
      steps: [['nft', 'add table ip filter { flags dormant ; }']],
      codes: ['fw_drift', 'fw_policy_open'],
    },
  ]);

  judges('with kube-proxy in nftables mode', kubeNft, [
    {
      what: 'a service is added (row 62)',
      steps: [
        nft('add chain ip kube-proxy service-42NFTM6N-ns2/svc2/tcp/p80'),
        nft('add rule ip kube-proxy service-42NFTM6N-ns2/svc2/tcp/p80 drop'),
        nft('add element ip kube-proxy cluster-ips { 172.30.0.42 }'),
      ],
      codes: [],
    },
    {
      what: 'the base chain of its owner is gone (row 61)',
      steps: [nft('flush chain ip kube-proxy filter-input'), nft('delete chain ip kube-proxy filter-input')],
      codes: ['fw_drift', 'fw_missing_chain'],
    },
    {
      what: 'SSH is opened for IPv6 alone (row 61)',
      steps: [nft('insert rule inet site input ip6 nexthdr tcp tcp dport 22 accept')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'the chain is deleted (row 61)',
      steps: [nft('flush chain inet site input'), nft('delete chain inet site input')],
      codes: ['fw_drift', 'fw_missing_chain', 'fw_policy_open'],
    },
  ]);

  judges('with Calico host endpoints', calico, [
    {
      what: 'a policy of a host endpoint changes (row 62)',
      steps: [ip('-A cali-pi-default.workers -p tcp --dport 443 -j MARK --set-xmark 0x1000000/0x1000000')],
      codes: [],
    },
    {
      what: 'the jump into Calico is written anew under another hash (row 62)',
      steps: [ip('-D INPUT 1'), ip('-I INPUT -m comment --comment cali:Dz_u1IQiXIMmKD4d -j cali-INPUT')],
      codes: [],
    },
    {
      what: 'an ACCEPT stands before the jump into Calico (row 61)',
      steps: [ip('-I INPUT -j ACCEPT')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'pods come and go (row 62)',
      steps: [
        ip('-N cali-tw-cali0123456789a'),
        ip('-A cali-tw-cali0123456789a -j DROP'),
        ip('-N cali-pro-_kJqfZpgUe7r2t4a-14'),
        ip('-A cali-FORWARD -o cali+ -j cali-tw-cali0123456789a'),
      ],
      codes: [],
    },
    {
      what: 'a tier of policies comes before the end of a host endpoint (row 62)',
      steps: [
        ip('-N cali-pi-_new'),
        ip('-I cali-fh-eth0 5 -m mark --mark 0x0/0x2000000 -j cali-pi-_new'),
        ip('-I cali-fh-eth0 6 -m mark --mark 0x1000000/0x1000000 -j RETURN'),
        ip('-I cali-fh-eth0 7 -m mark --mark 0x0/0x2000000 -j DROP'),
      ],
      codes: [],
    },
    {
      what: 'a failsafe port is added (row 61)',
      steps: [ip('-A cali-failsafe-in -p tcp -m multiport --dports 8080 -j ACCEPT')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'the default deny of a host endpoint is removed (row 61)',
      steps: [ip('-D cali-fh-eth0 6')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'a host endpoint returns before its default deny (row 61)',
      steps: [ip('-I cali-fh-eth0 -m mark --mark 0x0/0x1000000 -j RETURN')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'every packet is marked as one that a policy accepted (row 61)',
      steps: [ip('-I cali-fh-eth0 5 -j MARK --set-xmark 0x1000000/0x1000000')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'cali-INPUT is emptied (row 61)',
      steps: [ip('-F cali-INPUT')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'the host endpoint is dispatched to no more (row 61)',
      steps: [ip('-F cali-from-host-endpoint')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'connections that the node makes are not denied any more (row 61)',
      steps: [ip('-D cali-th-eth0 2')],
      codes: ['fw_drift'],
    },
  ]);

  judges('with Calico host endpoints in nftables mode', calicoNft, [
    {
      what: 'pods and policies change (row 62)',
      steps: [
        nft('add chain ip calico filter-cali-tw-cali1'),
        nft('flush chain ip calico filter-cali-pi-default.workers'),
        nft('add rule ip calico filter-cali-fw-cali0123456789a counter accept'),
        nft('add element ip calico cali40s-workers { 10.1.2.9 }'),
      ],
      codes: [],
    },
    {
      what: 'a failsafe port is added (row 61)',
      steps: [nft('add rule ip calico filter-cali-failsafe-in tcp dport 8080 accept')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'the rules of a host endpoint are flushed (row 61)',
      steps: [nft('flush chain ip calico filter-cali-fh-any-interface-at-all')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'filter-INPUT is emptied (row 61)',
      steps: [nft('flush chain ip calico filter-INPUT')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
    {
      what: 'every packet is marked as one that a policy accepted (row 61)',
      steps: [nft('insert rule ip calico filter-cali-from-host-endpoint meta mark set mark or 0x01000000')],
      codes: ['fw_drift', 'fw_policy_open'],
    },
  ]);

  judges('with Cilium', cilium, [
    {
      what: 'the rules of an interface change (row 62)',
      steps: [ip('-A CILIUM_FORWARD -o lxc+ -j ACCEPT')],
      codes: [],
    },
    {
      what: 'a CNI plugin translates for one more pod (row 62)',
      steps: [
        ip('-t nat -N CNI-0123456789abcdef01234567'),
        ip('-t nat -A CNI-0123456789abcdef01234567 -j MASQUERADE'),
        [
          ...ip('-t nat -A POSTROUTING -s 10.88.0.5 -m comment --comment'),
          'name: "podman" id: "0123456789abcdef"',
          ...words('-j CNI-0123456789abcdef01234567'),
        ],
      ],
      codes: [],
    },
    {
      what: 'a chain by the name of a plugin lets all in (row 61)',
      steps: [
        ip('-N CNI-0123456789abcdef01234567'),
        ip('-A CNI-0123456789abcdef01234567 -j ACCEPT'),
        ip('-I INPUT -j CNI-0123456789abcdef01234567'),
      ],
      codes: ['fw_drift', 'fw_policy_open'],
    },
  ]);

  describe('native nft', () => {
    let folder = '';
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'assay-nft-'));
      await writeFile(join(folder, 'rules.nft'), nativeRules);
      const counted = nativeRules
        .replace('counter accept', 'counter packets 7 bytes 700 accept')
        .replace('counter c {}', 'counter c { packets 9 bytes 900; }');
      await writeFile(join(folder, 'counted.nft'), counted);
    });
    after(() => rm(folder, { recursive: true, force: true }));

    it('is as captured after it was loaded anew and its counters moved', async () => {
      const load = ['nft', '-f', join(folder, 'rules.nft')];
      const [before, counted] = await shownAfter(
        load,
        'show',
        ['nft', 'flush', 'ruleset'],
        ['nft', '-f', join(folder, 'counted.nft')],
        'show',
      );
      assert.ok(before !== undefined && counted !== undefined);
      assert.match(JSON.stringify(counted.nft), /"packets":7,/);
      assert.equal(judged(counted, [referenceOf(before)]).state, 'trusted');
    });

    it('is closed for what its sets and maps do not name', async () => {
      const [part] = await shownAfter(['nft', '-f', join(folder, 'rules.nft')], 'show');
      assert.ok(part !== undefined);
      const open = (opening: string) =>
        failing(judged(part, [referenceOf(part)], [`forbid: ["${opening}"]`])).includes('fw_policy_open');
      for (const [opening, isOpen] of [
        ['input tcp 22 from anywhere', true],
        ['input tcp 22 from anywhere but 10.0.0.0/8,192.168.0.0/16,1.2.3.4-1.2.3.9,fd00::/8', false],
        ['input tcp 23 from anywhere', false],
        ['input tcp 443 from anywhere', true],
        ['input tcp 8500-9500 from anywhere', true],
        ['input udp 53 from anywhere', false],
        ['input tcp 55 from anywhere but 1.2.3.4', false],
        ['forward any from anywhere', true],
      ] as const)
        assert.equal(open(opening), isOpen, opening);
    });

    it('shows an element that a set gained', async () => {
      const [before, now] = await shownAfter(
        ['nft', '-f', join(folder, 'rules.nft')],
        'show',
        ['nft', 'add', 'element', 'inet', 't', 's', '{', '172.16.0.0/12', '}'],
        'show',
      );
      assert.ok(before !== undefined && now !== undefined);
      const drift = judged(now, [referenceOf(before)]).reasons.find(({ code }) => code === 'fw_drift');
      assert.deepEqual(drift?.detail?.slice(0, 1), ['@@ nft inet t set s @@']);
      assert.ok(drift?.detail?.includes('+ 172.16.0.0/12'));
    });
  });

  it('takes a reference that a person wrote from the text of the tools for the same as a captured one', async () => {
    const [part] = await shownAfter(kube, 'show');
    assert.ok(part !== undefined);
    const { firewall: _, captured: __, ...reference } = referenceOf(part);
    const written = { ...reference, firewall: { 'iptables-save': part.iptables.ip ?? '' } };
    assert.equal(judged(part, [written]).state, 'trusted');
  });
});

const nativeRules = `
table inet t {
  set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.0.0/16, 1.2.3.4-1.2.3.9 }; }
  set seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; }
  map m { type inet_service : verdict; elements = { 22 : jump ssh, 80 : accept }; }
  counter c {}
  chain ssh { ip saddr @s accept; ip6 saddr fd00::/8 accept; }
  chain input {
    type filter hook input priority filter + 5; policy drop;
    icmp type echo-request counter add @seen { ip saddr }
    iif lo counter accept
    ct state { established, related } accept
    tcp dport vmap @m
    tcp dport { 443, 8000-9000 } ct state new limit rate 3/second accept
    ip saddr . tcp dport { 1.2.3.4 . 55 } accept
    counter name c drop
  }
}
`;
