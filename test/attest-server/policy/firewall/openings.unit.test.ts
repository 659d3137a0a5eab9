import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseOpening } from '../../../../attest-server/policy/firewall/opening.ts';
import { rulesetOf } from '../../../../attest-server/policy/firewall/read-ruleset.ts';
import { parseRequirement } from '../../../../attest-server/policy/firewall/requirement.ts';
import { waysIn } from '../../../../attest-server/policy/firewall/walk.ts';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { partWith } from './made-firewall.ts';

/** A filter table for both families, whose chain INPUT drops by its policy. */
function filter(
  rules: readonly string[],
  { policy = 'DROP', chains = [] as readonly string[] } = {},
): string {
  const user = chains.map((name) => `:${name} - [0:0]`);
  return [
    '*filter',
    `:INPUT ${policy} [0:0]`,
    ':FORWARD DROP [0:0]',
    ':OUTPUT ACCEPT [0:0]',
    ...user,
    ...rules,
    'COMMIT',
    '',
  ].join('\n');
}

const closed = filter([]);
/** Of IPv4; IPv6 is closed. */
const with4 = (...given: Parameters<typeof filter>) =>
  partWith({ iptables: { ip: filter(...given), ip6: closed } });

function isOpen(part: FirewallPart, text: string): boolean {
  const opening = parseOpening(text);
  assert.ok(typeof opening !== 'string', String(opening));
  return waysIn(rulesetOf(part), opening).length > 0;
}

const ssh = 'input tcp 22 from anywhere';
const abroad = 'input tcp 22 from anywhere but 10.0.0.0/8';

const cases: readonly (readonly [what: string, part: FirewallPart, opening: string, open: boolean])[] = [
  ['no rules at all', partWith({}), ssh, true],
  ['IPv6 without rules', partWith({ iptables: { ip: closed, ip6: null } }), ssh, true],
  [
    'IPv6 without rules, where IPv4 is asked about',
    partWith({ iptables: { ip: closed, ip6: null } }),
    'input tcp 22 from 0.0.0.0/0',
    false,
  ],
  ['both in legacy', partWith({ legacy: { ip: closed, ip6: closed } }), ssh, false],
  [
    'legacy drops what nft accepts',
    partWith({
      iptables: { ip: filter(['-A INPUT -j ACCEPT']), ip6: closed },
      legacy: { ip: closed, ip6: null },
    }),
    ssh,
    false,
  ],
  ['policy DROP and nothing else', with4([]), ssh, false],
  ['policy ACCEPT', with4([], { policy: 'ACCEPT' }), ssh, true],
  ['the port', with4(['-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT']), ssh, true],
  ['the port by its number of a protocol', with4(['-A INPUT -p 6 -m tcp --dport 22 -j ACCEPT']), ssh, true],
  ...['DNAT', 'SNAT', 'SNAT,DNAT', 'ESTABLISHED,DNAT', 'FOO'].map(
    (states) =>
      [
        `a connection of state ${states}, which may be new (row 334)`,
        with4([`-A INPUT -m conntrack --ctstate ${states} -j ACCEPT`]),
        ssh,
        true,
      ] as const,
  ),
  [
    'a drop of connections that are translated',
    with4(['-A INPUT -m conntrack --ctstate DNAT -j DROP', '-A INPUT -p tcp -j ACCEPT']),
    ssh,
    true,
  ],
  [
    'what is in no state that new connections have',
    with4(['-A INPUT -m conntrack --ctstate INVALID,RELATED,ESTABLISHED,UNTRACKED -j ACCEPT']),
    ssh,
    false,
  ],
  ['another port', with4(['-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT']), ssh, false],
  ['another protocol', with4(['-A INPUT -p udp -m udp --dport 22 -j ACCEPT']), ssh, false],
  [
    'a range that has the port',
    with4(['-A INPUT -p tcp -m multiport --dports 80,20:30 -j ACCEPT']),
    ssh,
    true,
  ],
  ['every port but this', with4(['-A INPUT -p tcp -m tcp ! --dport 22 -j ACCEPT']), ssh, false],
  [
    'dropped before it is accepted',
    with4(['-A INPUT -p tcp -m tcp --dport 22 -j DROP', '-A INPUT -p tcp -j ACCEPT']),
    ssh,
    false,
  ],
  [
    'accepted before it is dropped',
    with4(['-A INPUT -p tcp -j ACCEPT', '-A INPUT -p tcp -m tcp --dport 22 -j DROP']),
    ssh,
    true,
  ],
  ['from within alone', with4(['-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT']), abroad, false],
  [
    'from within alone, where that is forbidden too',
    with4(['-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT']),
    ssh,
    true,
  ],
  [
    'from one net too many',
    with4(['-A INPUT -s 10.0.0.0/7 -p tcp -m tcp --dport 22 -j ACCEPT']),
    abroad,
    true,
  ],
  [
    'from by a mask',
    with4(['-A INPUT -s 10.0.0.0/255.0.0.0 -p tcp -m tcp --dport 22 -j ACCEPT']),
    abroad,
    false,
  ],
  [
    'all but within are dropped first',
    with4(['-A INPUT ! -s 10.0.0.0/8 -j DROP', '-A INPUT -j ACCEPT']),
    abroad,
    false,
  ],
  [
    'dropped in two halves',
    with4(['-A INPUT -s 0.0.0.0/1 -j DROP', '-A INPUT -s 128.0.0.0/1 -j DROP', '-A INPUT -j ACCEPT']),
    ssh,
    false,
  ],
  [
    'dropped in halves that leave an address',
    with4(['-A INPUT -s 0.0.0.0/1 -j DROP', '-A INPUT -s 128.0.0.0/2 -j DROP', '-A INPUT -j ACCEPT']),
    ssh,
    true,
  ],
  ['answers', with4(['-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT']), ssh, false],
  [
    'answers, by the older match',
    with4(['-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT']),
    ssh,
    false,
  ],
  ['new connections too', with4(['-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT']), ssh, true],
  ['whatever is not invalid', with4(['-A INPUT -m conntrack ! --ctstate INVALID -j ACCEPT']), ssh, true],
  [
    'new ones dropped by state',
    with4(['-A INPUT -m conntrack --ctstate NEW -j DROP', '-A INPUT -j ACCEPT']),
    ssh,
    false,
  ],
  ['its own interface', with4(['-A INPUT -i lo -j ACCEPT']), ssh, false],
  ['every interface but its own', with4(['-A INPUT ! -i lo -j ACCEPT']), ssh, true],
  ['an interface', with4(['-A INPUT -i eth0 -j ACCEPT']), ssh, true],
  [
    'a drop on one interface is not one on all',
    with4(['-A INPUT -i eth0 -j DROP', '-A INPUT -j ACCEPT']),
    ssh,
    true,
  ],
  ['every name that begins with l', with4(['-A INPUT -i l+ -j ACCEPT']), ssh, true],
  [
    'a match that nobody here knows may accept',
    with4(['-A INPUT -m bpf --bytecode "4,48 0 0 9" -j ACCEPT']),
    ssh,
    true,
  ],
  [
    'a match that nobody here knows may not drop',
    with4(['-A INPUT -m recent --update --name x -j DROP', '-A INPUT -j ACCEPT']),
    ssh,
    true,
  ],
  ['a target that nobody here knows', with4(['-A INPUT -j NFQUEUE --queue-num 1']), ssh, true],
  [
    'a rule that only counts and logs',
    with4(['-A INPUT -j LOG --log-prefix "x -j ACCEPT"', '-A INPUT -m comment --comment "-j ACCEPT"']),
    ssh,
    false,
  ],
  [
    'a rate that lets some pass before it drops',
    with4(['-A INPUT -m limit --limit 1/sec -j DROP', '-A INPUT -j ACCEPT']),
    ssh,
    true,
  ],
  [
    'a chain that accepts',
    with4(['-A INPUT -p tcp -j A', '-A A -p tcp -m tcp --dport 22 -j ACCEPT'], { chains: ['A'] }),
    ssh,
    true,
  ],
  [
    'a chain that nobody enters',
    with4(['-A A -p tcp -m tcp --dport 22 -j ACCEPT'], { chains: ['A'] }),
    ssh,
    false,
  ],
  [
    'a chain that returns first',
    with4(['-A INPUT -j A', '-A A -p tcp -j RETURN', '-A A -j ACCEPT'], { chains: ['A'] }),
    ssh,
    false,
  ],
  [
    'a chain that drops all',
    with4(['-A INPUT -j A', '-A INPUT -j ACCEPT', '-A A -j DROP'], { chains: ['A'] }),
    ssh,
    false,
  ],
  [
    'a chain that may return',
    with4(['-A INPUT -j A', '-A INPUT -j ACCEPT', '-A A -i eth0 -j RETURN', '-A A -j DROP'], {
      chains: ['A'],
    }),
    ssh,
    true,
  ],
  ['goto does not come back', with4(['-A INPUT -g A', '-A INPUT -j ACCEPT'], { chains: ['A'] }), ssh, false],
  [
    'goto leads to the policy',
    with4(['-A INPUT -g A', '-A INPUT -j DROP'], { policy: 'ACCEPT', chains: ['A'] }),
    ssh,
    true,
  ],
  [
    'the jump matches two things in part',
    with4(['-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22:30 -j A', '-A A -j ACCEPT'], { chains: ['A'] }),
    abroad,
    false,
  ],
  [
    'chains that jump in a ring',
    with4(['-A INPUT -j A', '-A A -j B', '-A B -j A'], { chains: ['A', 'B'] }),
    ssh,
    true,
  ],
  ['a chain of a declared owner', with4(['-A INPUT -j KUBE-FIREWALL']), ssh, false],
  [
    'untracked, which new connections may be then',
    partWith({
      iptables: {
        ip: `*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -j CT --notrack\nCOMMIT\n${filter(['-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT'])}`,
        ip6: closed,
      },
    }),
    ssh,
    true,
  ],
  ['untracked, where nothing is', with4(['-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT']), ssh, false],
  [
    'any port of a range',
    with4(['-A INPUT -p tcp -m tcp --dport 30100 -j ACCEPT']),
    'input tcp 30000-32767 from anywhere',
    true,
  ],
  ['forwarded', with4(['-A FORWARD -d 10.0.0.5/32 -j ACCEPT']), 'forward any from anywhere', true],
  ['forwarded, which is another hook', with4(['-A FORWARD -j ACCEPT']), 'input any from anywhere', false],
  ['icmp', with4(['-A INPUT -p icmp -j ACCEPT']), 'input icmp from anywhere', true],
  ['icmp, beside tcp', with4(['-A INPUT -p icmp -j ACCEPT']), 'input tcp from anywhere', false],
];

describe('a forbidden opening', () => {
  for (const [what, part, opening, open] of cases)
    it(`is ${open ? 'open' : 'closed'}: ${what} (${opening})`, () => {
      assert.equal(isOpen(part, opening), open);
    });

  it('is told within a bounded time behind thousands of blocked addresses', () => {
    const blocked = Array.from(
      { length: 10_000 },
      (_, i) => `-A INPUT -s 9.${i >> 8}.${i & 255}.1/32 -j DROP`,
    );
    const started = performance.now();
    assert.equal(isOpen(with4(blocked), ssh), false);
    assert.equal(isOpen(with4([...blocked, '-A INPUT -s 8.8.8.8/32 -j ACCEPT']), ssh), true);
    assert.ok(performance.now() - started < 3000);
  });

  it('is read of large sets once, however many rules name them', () => {
    const at = { family: 'inet', table: 't' };
    const elem = Array.from({ length: 10_000 }, (_, i) => `10.${i >> 8}.${i & 255}.2`);
    const bySet = {
      ...at,
      chain: 'input',
      expr: [
        { match: { op: '==', left: { payload: { protocol: 'ip', field: 'saddr' } }, right: '@s' } },
        { drop: null },
      ],
    };
    const part = partWith({
      nft: [
        { table: { family: 'inet', name: 't' } },
        { chain: { ...at, name: 'input', type: 'filter', hook: 'input', prio: 0, policy: 'drop' } },
        { set: { ...at, name: 's', type: 'ipv4_addr', elem } },
        ...Array.from({ length: 1000 }, () => ({ rule: bySet })),
      ],
    });
    const before = process.cpuUsage();
    assert.equal(isOpen(part, ssh), false);
    // Of the processor: other programs take time, too. Each read of the set by each rule would take minutes.
    assert.ok(process.cpuUsage(before).user < 10_000_000);
  });

  it('is told within a bounded time for chains that multiply', () => {
    const names = Array.from({ length: 14 }, (_, index) => `C${index}`);
    const rules = names.flatMap((name, index) =>
      Array.from({ length: 8 }, () => `-A ${index === 0 ? 'INPUT' : names[index - 1]} -i eth0 -j ${name}`),
    );
    const started = performance.now();
    assert.equal(isOpen(with4(rules, { chains: names }), ssh), true);
    assert.ok(performance.now() - started < 3000);
  });
});

describe('the languages of the policy', () => {
  for (const text of [
    '',
    'output tcp 22 from anywhere',
    'input gre from anywhere',
    'input tcp 22',
    'input tcp 99999 from anywhere',
    'input icmp 8 from anywhere',
    'input tcp 22 from somewhere',
    'input tcp 22 from 10.0.0.0/40',
    'input tcp 22 from anywhere but',
    'input tcp 22 from anywhere but 0.0.0.0/0,::/0',
    'input tcp 22 from anywhere or 10.0.0.0/8',
    'input tcp 22 from anywhere but 10.0.0.0/8 too',
    'input tcp 30-20 from anywhere',
  ])
    it(`have no opening "${text}"`, () => assert.equal(typeof parseOpening(text), 'string'));

  for (const text of [
    '',
    'inet filter',
    'ipv4 filter INPUT',
    'inet filter input policy reject',
    'inet filter input hook',
    'inet filter input drop',
  ])
    it(`require no "${text}"`, () => assert.equal(typeof parseRequirement(text), 'string'));

  it('require a chain by its place, its hook and its policy', () => {
    assert.deepEqual(parseRequirement(' nft inet  filter input policy drop hook input'), {
      text: 'nft inet filter input policy drop hook input',
      kind: 'nft',
      family: 'inet',
      table: 'filter',
      chain: 'input',
      hook: 'input',
      policy: 'drop',
    });
  });
});
