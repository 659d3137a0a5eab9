import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { type FirewallListing, readRules } from '../../../agent/netfilter/read-rules.ts';
import { RuleReader } from '../../../agent/netfilter/rule-reader.ts';
import { parseFirewallPart } from '../../../attest-server/wire/firewall.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { judged, referenceOf } from '../../attest-server/policy/firewall/made-firewall.ts';
import { type Namespace, openNamespace } from './namespace.ts';

/** Real nft, iptables-nft and iptables-legacy in a network namespace of their own. */
describe('the rules of a network namespace', () => {
  let space: Namespace;
  before(function () {
    // Who is not root opens no namespace by its file.
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    space = await openNamespace();
  });
  afterEach(() => space[Symbol.asyncDispose]());

  const read = (): Promise<FirewallListing> => readRules({ netns: space.netns });
  const partOf = ({ bytes }: FirewallListing) => parseFirewallPart(bytes);
  const members = (listing: FirewallListing, kind: string) =>
    (partOf(listing).nft ?? []).flatMap((member) => (kind in member ? [JSON.stringify(member[kind])] : []));

  it('are none where there are none, and looking makes no table', async () => {
    const part = partOf(await read());
    assert.deepEqual(
      [part.nft?.map((member) => Object.keys(member)), part.iptables, part.legacy, part.owned],
      [[['metainfo']], { ip: null, ip6: null }, { ip: null, ip6: null }, []],
    );
    assert.equal(await space.sh(tables), '');
  });

  it('are read of nft, and of both kinds of iptables, for IPv4 and IPv6 (row 60)', async () => {
    await space.sh(`
      nft add table inet worker
      nft add chain inet worker input '{ type filter hook input priority 0; policy drop; }'
      nft add rule inet worker input tcp dport '{ 22, 80 }' accept comment '"no door"'
      iptables-nft -A INPUT -m conntrack --ctstate NEW -p tcp --dport 22 -j ACCEPT
      ip6tables-nft -A INPUT -p udp -m multiport --dports 53,123 -j DROP
      iptables-legacy -A FORWARD -s 10.0.0.0/8 -j DROP
      iptables-legacy -t nat -N AWAY
      ip6tables-legacy -A INPUT -p tcp --dport 23 -m comment --comment 'old door' -j REJECT`);
    const before = await space.sh(tables);
    const listing = await read();
    const part = partOf(listing);
    assert.match(members(listing, 'rule').join('\n'), /"set":\[22,80\]/);
    assert.match(
      part.iptables.ip ?? '',
      /^-A INPUT -p tcp -m conntrack --ctstate NEW -m tcp --dport 22 -j ACCEPT$/m,
    );
    assert.match(part.iptables.ip6 ?? '', /^-A INPUT -p udp -m multiport --dports 53,123 -j DROP$/m);
    assert.equal(
      part.legacy.ip,
      [
        '*filter\n:FORWARD ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]',
        '-A FORWARD -s 10.0.0.0/8 -j DROP\nCOMMIT',
        '*nat\n:AWAY - [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]',
        ':PREROUTING ACCEPT [0:0]\nCOMMIT\n',
      ].join('\n'),
    );
    assert.match(part.legacy.ip6 ?? '', /--dport 23 -m comment --comment "old door" -j REJECT/);
    assert.equal(await space.sh(tables), before);
  });

  it('are read without making a legacy table of the other family', async () => {
    await space.sh('iptables-legacy -A INPUT -j ACCEPT');
    const before = await space.sh(tables);
    assert.deepEqual(partOf(await read()).legacy.ip6, null);
    assert.equal(await space.sh(tables), before);
  });

  it('are the same bytes whatever was counted, in whatever order tables were made (row 62)', async () => {
    const made = [
      `nft add table ip a; nft add chain ip a c '{ type filter hook input priority 0; }'; nft add rule ip a c counter accept
       nft add counter ip a n; nft add rule ip a c counter name n; nft add quota ip a q '{ over 20 mbytes; }'; nft add rule ip a c quota name q
       nft add rule ip a c last`,
      `nft add table inet b; nft add chain inet b y; nft add chain inet b x
       nft add set inet b s '{ type ipv4_addr; }'; nft add element inet b s '{ 1.1.1.1, 2.2.2.2, 3.3.3.3 }'`,
      'iptables-nft -A INPUT -p icmp -j ACCEPT; iptables-nft -N Z; iptables-nft -N Y; iptables-nft -A Z -j DROP',
      'iptables-legacy -t mangle -A INPUT -p icmp -j ACCEPT; iptables-legacy -N Q; iptables-legacy -N P',
    ];
    await space.sh(made.join('\n'));
    const first = await read();
    await space.sh('ping -c 3 -i 0.01 -W 1 127.0.0.1 >/dev/null || true');
    assert.deepEqual((await read()).bytes, first.bytes);
    await using other = await openNamespace();
    await other.sh(
      [...made]
        .reverse()
        .join('\n')
        .replace(
          'nft add chain inet b y; nft add chain inet b x',
          'nft add chain inet b x; nft add chain inet b y',
        )
        .replace('1.1.1.1, 2.2.2.2, 3.3.3.3', '3.3.3.3, 1.1.1.1, 2.2.2.2'),
    );
    assert.deepEqual((await readRules({ netns: other.netns })).bytes.toString(), first.bytes.toString());
  });

  it('give the same bytes for a day while only rules of a declared owner change, and others at once where more does (row 62)', async () => {
    await space.sh(start);
    let hours = 0;
    const reader = new RuleReader({ netns: space.netns }, undefined, () => hours * 3_600_000);
    const readAfter = async (passed: number, change: string) => {
      hours = passed;
      await space.sh(change);
      return (await reader.read()).bytes.toString('utf8');
    };
    const first = await readAfter(0, 'true');
    const grown = 'iptables-nft -A KUBE-FORWARD -j RETURN';
    assert.equal(await readAfter(23, grown), first);
    const next = await readAfter(24, 'true');
    assert.notEqual(next, first);
    assert.notEqual(await readAfter(24, `${grown}; iptables-nft -A INPUT -j DROP`), next);
    const { owned } = partOf(await read());
    assert.deepEqual(parseFirewallPart((await reader.read()).bytes).owned, owned);
  });

  it('show of a declared owner how many rules it has, and that others lead there', async () => {
    await space.sh(start);
    await space.sh(`
      for id in ABCDEFGHIJKLMNOP ABCDEFGHIJKLMNOQ; do
        iptables-nft -N KUBE-SVC-$id; iptables-nft -A KUBE-SVC-$id -j RETURN; iptables-nft -A KUBE-SVC-$id -j DROP
      done`);
    const part = partOf(await read());
    assert.deepEqual(
      part.owned
        .filter(({ chain }) => chain.startsWith('KUBE-SVC'))
        .map(({ from, family, table, chain, owner, rules }) => [from, family, table, chain, owner, rules]),
      [
        ['iptables', 'ip', 'filter', 'KUBE-SVC-*', 'kube-proxy', 4],
        ['nft', 'ip', 'filter', 'KUBE-SVC-*', 'kube-proxy', 4],
      ],
    );
    assert.match(part.iptables.ip ?? '', /^-A FORWARD -j KUBE-FORWARD$/m);
    assert.doesNotMatch(part.iptables.ip ?? '', /KUBE-SVC/);
  });

  it('show a rule that iptables has no words for by the word of nft, and those beside it by that of iptables (row 61)', async () => {
    await space.sh(`
      iptables-nft -P INPUT DROP; iptables-nft -N MORE
      iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
      iptables-nft -A MORE -m statistic --mode random --probability 0.5 -j RETURN`);
    const before = partOf(await read());
    await space.sh('nft insert rule ip filter INPUT meta skuid 0 accept');
    const after = await read();
    assert.match(
      partOf(after).iptables.ip ?? '',
      /^-A INPUT\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT$/m,
    );
    const verdict = judged(after.bytes, [referenceOf(before)]);
    const drift = verdict.reasons.find(({ code }) => code === 'fw_drift');
    assert.equal(drift?.actual, '1 added');
    assert.ok(drift.detail?.includes('+ meta skuid 0 accept'), String(drift.detail));
    await space.sh(
      'nft delete rule ip filter INPUT handle $(nft -a list chain ip filter INPUT | sed -n "s/.*skuid.*handle //p")',
    );
    assert.deepEqual(partOf(await read()), before);
  });

  it('are no rules where a rule is hidden in a comment with a line break: the fault is said', async () => {
    await space.sh("iptables-nft -A INPUT -m comment --comment $'x\\n-A INPUT -j DROP' -j ACCEPT");
    await assert.rejects(read(), { code: 'malformed' });
  });
});

describe('the rules of a network namespace, as they are compared,', () => {
  let space: Namespace;
  let first: FirewallListing;
  before(async function () {
    // Who is not root opens no namespace by its file.
    if (process.getuid?.() !== 0) this.skip();
    space = await openNamespace();
    await space.sh(anew());
    first = await readRules({ netns: space.netns });
  });
  after(() => space?.[Symbol.asyncDispose]());

  const anew = () => `nft flush ruleset; ${start}`;
  const readAfter = async (change: string) => {
    await space.sh(`${anew()}\n${change}`);
    return readRules({ netns: space.netns });
  };

  for (const [what, change] of [
    ['a rule that is added', 'nft add rule inet t c tcp dport 23 accept'],
    ['a rule that is put first', 'nft insert rule inet t c tcp dport 23 accept'],
    ['a rule that is taken out', 'nft flush chain inet t c'],
    [
      'rules in another order',
      'nft flush chain inet t c; nft add rule inet t c tcp dport 2 drop; nft add rule inet t c tcp dport 1 accept',
    ],
    ['a policy', "nft add chain inet t c '{ type filter hook input priority 0; policy accept; }'"],
    ['an element of a set', "nft add element inet t s '{ 9.9.9.9 }'"],
    [
      'an element that stays in a set with time-outs',
      "nft add element inet t out '{ 9.9.9.9 timeout 400d }'",
    ],
    [
      'an element that times out, in a set that no rule fills',
      "nft add element inet t out '{ 9.9.9.9 timeout 23h }'",
    ],
    ['a policy of iptables', 'iptables-nft -P INPUT ACCEPT'],
    ['a detail that nft does not show', 'iptables-nft -R INPUT 1 -m conntrack --ctstate INVALID -j ACCEPT'],
    ['a policy of iptables-legacy', 'ip6tables-legacy -P FORWARD DROP'],
    ['a table without a rule', 'nft add table ip6 empty'],
    [
      'a jump into a chain of a declared owner that is moved',
      'iptables-nft -D FORWARD 1; iptables-nft -A FORWARD -j KUBE-FORWARD',
    ],
    [
      'a base chain of nft with the name of a declared owner',
      "nft add chain ip filter KUBE-X '{ type filter hook input priority -10; policy accept; }'",
    ],
    [
      'a rule in a base chain with the name of a declared owner',
      'nft add rule ip filter KUBE-HOOKED tcp dport 22 accept',
    ],
    [
      'a chain with the name of a declared owner, in a table that is none of its',
      'nft add chain inet t KUBE-SERVICES',
    ],
    [
      'the priority of a hook in a declared table',
      `nft delete table ip kube-proxy; nft add table ip kube-proxy
       nft add chain ip kube-proxy services '{ type nat hook prerouting priority -150; policy accept; }'`,
    ],
    [
      'one more hook in a declared table',
      "nft add chain ip kube-proxy more '{ type filter hook input priority -300; policy accept; }'",
    ],
    [
      'a failsafe port of Calico',
      'iptables-nft -N cali-failsafe-in; iptables-nft -A cali-failsafe-in -p tcp --dport 8080 -j ACCEPT',
    ],
    [
      'what Calico jumps to from a hook of its nft table',
      `nft add table ip calico; nft add chain ip calico filter-INPUT '{ type filter hook input priority 0; }'
       nft add rule ip calico filter-INPUT accept`,
    ],
    ['the chain that Docker leaves to people', 'iptables-nft -A DOCKER-USER -j ACCEPT'],
  ] as const)
    it(`differ in what is compared after ${what} changed (row 61)`, async () => {
      assert.notDeepEqual((await readAfter(change)).compared, first.compared);
    });

  for (const [what, change] of [
    ['an element that times out', "nft add element inet t filled '{ 9.9.9.9 timeout 1h }'"],
    ['an element of the time-out of its set', "nft add element inet t short '{ 9.9.9.9 }'"],
    [
      'services of kube-proxy',
      `iptables-nft -N KUBE-SVC-ABCDEFGHIJKLMNOP; iptables-nft -A KUBE-SERVICES -j KUBE-SVC-ABCDEFGHIJKLMNOP
       iptables-nft -A KUBE-SVC-ABCDEFGHIJKLMNOP -m statistic --mode random --probability 0.5 -j RETURN`,
    ],
    [
      'services of kube-proxy with nft',
      `nft add chain ip kube-proxy svc; nft add rule ip kube-proxy services tcp dport 80 jump svc
       nft add map ip kube-proxy ips '{ type ipv4_addr : verdict; }'; nft add element ip kube-proxy ips '{ 1.1.1.1 : goto svc }'`,
    ],
    ['containers of Docker', 'iptables-nft -t nat -N DOCKER; iptables-nft -t nat -A DOCKER -j RETURN'],
    [
      'workloads of Calico',
      'iptables-nft -N cali-tw-cali0123456789a; iptables-nft -A cali-tw-cali0123456789a -j DROP',
    ],
    [
      'workloads and policies of Calico with nft',
      `nft add chain ip calico filter-cali-tw-x; nft add rule ip calico filter-cali-tw-x drop
       nft add chain ip calico filter-cali-pi-x; nft add rule ip calico filter-FORWARD jump filter-cali-tw-x`,
    ],
    [
      'endpoints of Cilium',
      'iptables-nft -N CILIUM_FORWARD; iptables-nft -A CILIUM_FORWARD -o lxc+ -j ACCEPT',
    ],
    [
      "Calico's hash of a rule",
      'iptables-nft -R OUTPUT 1 -m comment --comment "cali:BBBBBBBBBBBBBBBB" -j cali-OUTPUT',
    ],
  ] as const)
    it(`are the same in what is compared after ${what} changed (row 62)`, async () => {
      // The tables of iptables are there before and after: only what is owned changes.
      assert.deepEqual((await readAfter(change)).compared, first.compared);
    });
});

describe('rules that cannot be read', () => {
  let space: Namespace;
  let folder: string;
  before(function () {
    // Who is not root opens no namespace by its file.
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    space = await openNamespace();
    folder = await mkdtemp(join(tmpdir(), 'assay-netfilter-tools-'));
  });
  afterEach(async () => {
    await space[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  /** Reads with these programs in the place of the real ones; `none`: with no other at all. */
  async function readBy(
    scripts: Readonly<Record<string, string>>,
    proc?: string,
    isAlone = false,
  ): Promise<FirewallListing> {
    for (const [name, script] of Object.entries(scripts)) {
      await writeFile(join(folder, name), `#!/bin/bash\n${script}\n`);
      await chmod(join(folder, name), 0o755);
    }
    const PATH = isAlone ? folder : `${folder}:/usr/sbin:/usr/bin`;
    return readRules({
      netns: proc === undefined ? space.netns : null,
      env: { PATH },
      ...(proc !== undefined && { proc }),
    });
  }

  it('are a fault where iptables has no words for a rule of which nft has the name alone', async () => {
    await space.sh('iptables-nft -A INPUT -m recent --name x --rcheck -j ACCEPT');
    const script = 'echo "iptables: Parsing nftables rule failed" >&2; exit 3';
    await assert.rejects(readBy({ 'iptables-nft-save': script, 'iptables-nft': script }), {
      code: 'hidden_rules',
    });
  });

  const saved = '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n';
  for (const [what, code, scripts] of [
    ['garbage', 'malformed', { nft: 'head -c 5000 /dev/urandom' }],
    ['nothing', 'malformed', { nft: 'true' }],
    ['another JSON', 'malformed', { nft: `echo '{"nftables": [{"rule": {"family": "ip"}}]}'` }],
    ['a JSON that ends too soon', 'malformed', { nft: `echo '{"nftables": [{"table": {"family"'` }],
    ['no end', 'too_large', { nft: 'yes' }],
    [
      'that it may not',
      'not_permitted',
      { nft: 'echo "Operation not permitted (you must be root)" >&2; exit 1' },
    ],
    ['that it failed', 'failed', { nft: 'echo "something" >&2; exit 1' }],
  ] as const)
    it(`are a fault where nft says ${what}`, async () => {
      await assert.rejects(readBy(scripts), { name: 'NetfilterFault', code });
    });

  for (const [what, code, script] of [
    ['garbage', 'malformed', 'head -c 500 /dev/urandom'],
    ['nothing', 'malformed', 'true'],
    ['half of it', 'malformed', `printf '*filter\\n:INPUT ACCEPT [0:0]\\n'`],
    [
      'a lock that somebody holds',
      'locked',
      'echo "Another app is currently holding the xtables lock." >&2; exit 4',
    ],
  ] as const)
    it(`are a fault where iptables-legacy-save says ${what}`, async () => {
      await space.sh('iptables-legacy -A INPUT -j ACCEPT');
      await assert.rejects(readBy({ 'iptables-legacy-save': script }), { code });
    });

  it('are a fault where iptables-nft-save leaves out a rule that nft shows in part', async () => {
    await space.sh('iptables-nft -A INPUT -m conntrack --ctstate NEW -j ACCEPT');
    await assert.rejects(readBy({ 'iptables-nft-save': `printf '${saved.replaceAll('\n', '\\n')}'` }), {
      code: 'hidden_rules',
    });
  });

  it('are a fault where the namespace is gone', async () => {
    const { netns } = space;
    assert.ok(await readlink(netns));
    await space[Symbol.asyncDispose]();
    await assert.rejects(readRules({ netns }), { code: 'namespace_gone' });
  });

  it('are a fault where there are more than can be compared', async () => {
    const rule = `{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": []}}`;
    const nft = `printf '{"nftables": [{"metainfo": {}}'; yes ', ${rule}' | head -n 50001; echo ']}'`;
    await assert.rejects(readBy({ nft }), { code: 'too_many_rules' });
  });

  it('are a fault where they are more bytes than a server takes', async () => {
    const rule = `{"rule": {"family": "inet", "table": "t", "chain": "c", "comment": "${'x'.repeat(400)}"}}`;
    const count = Math.ceil(limits.parts.firewall / 400);
    const nft = `printf '{"nftables": [{"metainfo": {}}'; yes ', ${rule}' | head -n ${count}; echo ']}'`;
    await assert.rejects(readBy({ nft }), { code: 'too_large' });
  });

  describe('where nft is not installed', () => {
    async function procWith(symbols: string): Promise<string> {
      const proc = join(folder, 'proc');
      await mkdir(join(proc, 'net'), { recursive: true });
      await writeFile(join(proc, 'kallsyms'), symbols);
      return proc;
    }
    const many = '0000000000000000 T netlink_sendmsg\n'.repeat(2_000);

    it('are none where the kernel has neither nf_tables nor a legacy table', async () => {
      const part = parseFirewallPart((await readBy({}, await procWith(many), true)).bytes);
      assert.deepEqual(
        [part.nft, part.iptables, part.legacy],
        [null, { ip: null, ip6: null }, { ip: null, ip6: null }],
      );
    });

    for (const [what, symbols] of [
      ['has nf_tables', `${many}0000000000000000 t nf_tables_newrule\t[nf_tables]\n`],
      ['shows no symbols', ''],
    ] as const)
      it(`are a fault where the kernel ${what}`, async () => {
        await assert.rejects(readBy({}, await procWith(symbols), true), { code: 'unproven' });
      });

    it('are a fault where a legacy table is there that nothing reads', async () => {
      const proc = await procWith(many);
      await writeFile(join(proc, 'net/ip6_tables_names'), 'filter\n');
      await assert.rejects(readBy({}, proc, true), { code: 'missing_program' });
    });
  });
});

/** All that a look might have made. */
const tables = `
  nft list tables; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names /proc/net/arp_tables_names 2>/dev/null || true`;

/** Legacy tables stay as long as their network: whoever loads these again there has the same. */
const start = `
  nft -f - <<'RULES'
    table inet t {
      set s { type ipv4_addr; elements = { 1.1.1.1 }; }
      set out { type ipv4_addr; flags timeout; }
      set short { type ipv4_addr; flags dynamic; timeout 1h; }
      set filled { type ipv4_addr; flags timeout; }
      chain c {
        type filter hook input priority 0; policy drop;
        tcp dport 1 accept
        tcp dport 2 drop
        update @filled { ip saddr timeout 1h }
      }
    }
    table ip kube-proxy {
      chain services { type nat hook prerouting priority -100; policy accept; }
    }
RULES
  iptables-nft-restore <<'RULES'
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
:cali-OUTPUT - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -m conntrack --ctstate NEW -j ACCEPT
-A FORWARD -j KUBE-FORWARD
-A FORWARD -j ACCEPT
-A OUTPUT -m comment --comment "cali:AAAAAAAAAAAAAAAA" -j cali-OUTPUT
COMMIT
*nat
:OUTPUT ACCEPT [0:0]
COMMIT
RULES
  nft -f - <<'RULES'
    table ip filter {
      chain KUBE-HOOKED { type filter hook input priority -10; policy accept; }
    }
    table ip calico {
      chain filter-FORWARD { type filter hook forward priority 0; }
    }
RULES
  ip6tables-legacy -P FORWARD ACCEPT`;
