import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { baselineOf } from '../../../../attest-server/policy/firewall/baseline.ts';
import { judgeRules } from '../../../../attest-server/policy/firewall/judge-rules.ts';
import type { Owner, RulePlace } from '../../../../attest-server/policy/firewall/owners/owner.ts';
import { shippedOwners } from '../../../../attest-server/policy/firewall/owners/shipped.ts';
import { rulesetOf } from '../../../../attest-server/policy/firewall/read-ruleset.ts';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { iptablesTables } from '../../../../attest-server/wire/owned-chains.ts';
import { isStrayLine } from '../../../../attest-server/wire/stray-rules.ts';
import { partWith } from './made-firewall.ts';

/** Where the kernel begins, by table: no owner's name. */
const hooked: Readonly<Record<string, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  raw: ['PREROUTING', 'OUTPUT'],
};

/** A rule in words of iptables, by table; SITE is a chain of nobody. */
const lines: Readonly<Record<string, readonly string[]>> = {
  filter: [
    '-p tcp -m tcp --dport 22 -j ACCEPT',
    '-s 10.77.0.2/32 -j ACCEPT',
    '-p tcp -j SITE',
    '-p tcp -j NFQUEUE --queue-num 0 --queue-bypass',
  ],
  nat: [
    '-p tcp -m tcp --dport 6443 -j REDIRECT --to-ports 2222',
    '-p tcp -m tcp --dport 6443 -j DNAT --to-destination 10.77.0.1:2222',
    '-p tcp -m tcp --dport 6443 -j DNAT --to-destination :2222',
    '-p tcp -m tcp --dport 6443 -j DNAT --to-destination 127.0.0.1:2222',
    '-p tcp -j SITE',
  ],
  mangle: ['-p tcp -j TPROXY --on-port 2222 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1', '-p tcp -j SITE'],
  raw: ['-p tcp -j TEE --gateway 10.77.0.9', '-p tcp -j SITE'],
};

const tcp = (dport: number) => ({
  match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: dport },
});
const statements: readonly (readonly object[])[] = [
  [tcp(6443), { redirect: { port: 2222 } }],
  [tcp(6443), { dnat: { addr: '10.77.0.1', port: 2222 } }],
  [tcp(6443), { dnat: { port: 2222 } }],
  [tcp(22), { accept: null }],
  [tcp(22), { jump: { target: 'site' } }],
  [tcp(22), { queue: { num: 0 } }],
];

describe('a tamper through each thing that owners write', () => {
  /** What nothing is found of. */
  function unseenOf(
    tampers: readonly (readonly [what: string, part: FirewallPart, before: FirewallPart])[],
  ): readonly string[] {
    return tampers
      .filter(([, part, before]) => {
        const baseline = baselineOf('baseline', rulesetOf(before), shippedOwners);
        const by = { active: [baseline], revoked: [], idle: () => [], isAsked: true };
        const rules = { require: [], forbid: [], owners: shippedOwners };
        return judgeRules({ ...part, local: ['10.77.0.1'] }, '', rules, by).findings.length === 0;
      })
      .map(([what]) => what);
  }

  it('is a rule in each chain: all but a named limit are found (row 335)', () => {
    const made = placesOf(({ chains }) => chains).flatMap(([family, table, chain]) =>
      iptablesTables.has(table) && (family === 'ip' || family === 'ip6')
        ? (lines[table] ?? []).map((line) => {
            const four = family === 'ip' ? line : inIPv6(line);
            const part = (rules: readonly string[]) => savedPart(family, table, chain, rules);
            return [`${family} ${table} ${chain} ${four}`, part([`-A ${chain} ${four}`]), part([])] as const;
          })
        : statements.map((expr) => {
            const part = (rules: readonly (readonly object[])[]) => nftPart(family, table, chain, rules);
            return [`${family} ${table} ${chain} ${JSON.stringify(expr)}`, part([expr]), part([])] as const;
          }),
    );
    // docs/firewall.md#limits: a network of netavark is forwarded.
    assert.deepEqual(unseenOf(made), [
      'ip filter NETAVARK_FORWARD -s 10.77.0.2/32 -j ACCEPT',
      'ip6 filter NETAVARK_FORWARD -s fd00::2/128 -j ACCEPT',
    ]);
    assert(made.length >= 650, `${made.length} tampers`);
  });

  it('is a chain with a hook of its name: none is trusted (row 335)', () => {
    const made = placesOf(({ chains }) => chains)
      .filter(([, table, chain]) => !hooked[table]?.includes(chain))
      .flatMap(([family, table, name]) =>
        [
          { type: 'filter', hook: 'input', prio: -10, policy: 'accept' },
          { type: 'nat', hook: 'prerouting', prio: -150, policy: 'accept' },
        ].map((base) => {
          const at = { family, table };
          const chain = { chain: { ...at, name, ...base } };
          const table_ = { table: { family, name: table } };
          return [
            `${family} ${table} ${name}`,
            partWith({ nft: [table_, chain] }),
            partWith({ nft: [table_] }),
          ] as const;
        }),
      );
    assert.deepEqual(unseenOf(made), []);
    assert(made.length >= 240, `${made.length} tampers`);
  });

  it('is an element of each set or map that leads somewhere: none is trusted (row 335)', () => {
    const made = placesOf(({ sets }) => sets).flatMap(([family, table, name]) =>
      [{ accept: null }, { jump: { target: 'site' } }, { goto: { target: 'site' } }].map((verdict) => {
        const at = { family, table };
        const table_ = { table: { family, name: table } };
        const map = (elem: readonly unknown[]) => ({
          map: { ...at, name, type: 'ifname', map: 'verdict', ...(elem.length > 0 && { elem }) },
        });
        return [
          `${family} ${table} ${name}`,
          partWith({ nft: [table_, map([['eth0', verdict]])] }),
          partWith({ nft: [table_, map([])] }),
        ] as const;
      }),
    );
    assert.deepEqual(unseenOf(made), []);
    assert(made.length >= 40, `${made.length} tampers`);
  });

  it('is a rule in each chain that a node leaves out: all but a named limit are sent (row 335)', () => {
    const chains = {
      filter: [
        'KUBE-FIREWALL',
        'KUBE-SVC-ABCDEFGHIJKLMNOP',
        'KUBE-ROUTER-INPUT',
        'CILIUM_INPUT',
        'FLANNEL-FWD',
        'CNI-FORWARD',
        'DOCKER',
        'cali-wl-to-host',
      ],
      nat: [
        'KUBE-SERVICES',
        'KUBE-SEP-ABCDEFGHIJKLMNOP',
        'KUBE-ROUTER-SERVICES',
        'CILIUM_PRE_nat',
        'FLANNEL-POSTRTG',
        'CNI-HOSTPORT-DNAT',
        'CNI-DN-0123456789abcdef01234',
        'CNI-0123456789abcdef01234567',
        'DOCKER',
        'cali-PREROUTING',
        'cali-fip-dnat',
      ],
      mangle: ['KUBE-PROXY-CANARY', 'CILIUM_PRE_mangle', 'cali-PREROUTING'],
      raw: ['CILIUM_PRE_raw', 'cali-PREROUTING'],
    };
    const owners: readonly (readonly [RegExp, string])[] = [
      [/^KUBE-ROUTER/, 'kube-router'],
      [/^KUBE/, 'kube-proxy'],
      [/^CILIUM/, 'cilium'],
      [/^FLANNEL/, 'flannel'],
      [/^CNI/, 'cni'],
      [/^DOCKER/, 'docker'],
      [/^cali/, 'calico'],
    ];
    const unseen = Object.entries(chains).flatMap(([table, its]) =>
      its.flatMap((chain) => {
        const owner = owners.find(([name]) => name.test(chain))?.[1] ?? '';
        const at = { owner, family: 'ip', table };
        return (lines[table] ?? [])
          .map((line) => `-A ${chain} ${line}`)
          .filter((line) => !isStrayLine(at, line, (address) => address === '10.77.0.1'));
      }),
    );
    // docs/firewall.md#limits: an endpoint on the node itself, what policies of Calico accept, and pods of plugins of CNI.
    assert.deepEqual(unseen, [
      '-A FLANNEL-FWD -s 10.77.0.2/32 -j ACCEPT',
      '-A CNI-FORWARD -s 10.77.0.2/32 -j ACCEPT',
      '-A cali-wl-to-host -p tcp -m tcp --dport 22 -j ACCEPT',
      '-A cali-wl-to-host -s 10.77.0.2/32 -j ACCEPT',
      '-A KUBE-SEP-ABCDEFGHIJKLMNOP -p tcp -m tcp --dport 6443 -j DNAT --to-destination 10.77.0.1:2222',
    ]);
  });
});

/** Each name that a form stands for, one for what differs. */
function placesOf(
  places: (owner: Owner) => readonly RulePlace[],
): (readonly [family: string, table: string, name: string])[] {
  const all = shippedOwners
    .flatMap(places)
    .flatMap(({ families, table, name }) =>
      families.flatMap((family) => namesOf(name.text).map((one) => [family, table, one] as const)),
    );
  return [...new Map(all.map((place) => [place.join(' '), place])).values()];
}

const examples: Readonly<Record<string, string>> = {
  word: 'one',
  interface: 'br-0',
  number: '2',
  'hex 12': '0123456789ab',
  'hex 13': '0123456789ABC',
  'hex 23': '0123456789abcdef0123456',
};

function namesOf(form: string): readonly string[] {
  const [, before = '', place, after = ''] = /^([^<]*)<([^>]*)>(.*)$/.exec(form) ?? [];
  if (place === undefined) return [form];
  const stands = place.includes('|') ? place.split('|') : [examples[place] ?? ''];
  assert(!stands.includes(''), place);
  return stands.flatMap((one) => namesOf(after).map((rest) => `${before}${one}${rest}`));
}

function inIPv6(line: string): string {
  return line
    .replace('10.77.0.2/32', 'fd00::2/128')
    .replace('10.77.0.1:2222', '[::1]:2222')
    .replace('127.0.0.1:2222', '[::1]:22')
    .replace('0.0.0.0', '::')
    .replace('10.77.0.9', 'fd00::9');
}

function savedPart(
  family: 'ip' | 'ip6',
  table: string,
  chain: string,
  rules: readonly string[],
): FirewallPart {
  const hooks = hooked[table] ?? [];
  const heads = hooks.map((name) => `:${name} ACCEPT [0:0]`);
  if (!hooks.includes(chain)) heads.push(`:${chain} - [0:0]`);
  const text = [`*${table}`, ...heads, ':SITE - [0:0]', '-A SITE -j ACCEPT', ...rules, 'COMMIT', ''].join(
    '\n',
  );
  return partWith({ iptables: { ip: null, ip6: null, [family]: text } });
}

function nftPart(
  family: string,
  table: string,
  name: string,
  rules: readonly (readonly object[])[],
): FirewallPart {
  const at = { family, table };
  return partWith({
    nft: [
      { table: { family, name: table } },
      { chain: { ...at, name } },
      { chain: { ...at, name: 'site' } },
      { rule: { ...at, chain: 'site', expr: [{ accept: null }] } },
      ...rules.map((expr) => ({ rule: { ...at, chain: name, expr } })),
    ],
  });
}
