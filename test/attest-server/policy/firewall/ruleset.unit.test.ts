import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import {
  capturedOf,
  comparedOf,
  rulesetOf,
  rulesetOfBaseline,
} from '../../../../attest-server/policy/firewall/read-ruleset.ts';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { cpuMs } from '../../../bench/cpu-time.ts';
import { firewallPartOfFolder } from '../../../recorded/firewall-folder.ts';
import { failing, judged, partWith, recordedNode, referenceOf } from './made-firewall.ts';

type Members = NonNullable<FirewallPart['nft']>;
const chain = (given: object) => ({
  chain: {
    family: 'inet',
    table: 't',
    name: 'input',
    type: 'filter',
    hook: 'input',
    policy: 'drop',
    ...given,
  },
});
const ruleOf = (expr: readonly object[], more = {}) => ({
  rule: { family: 'inet', table: 't', chain: 'input', expr, ...more },
});
const made = (...members: Members) =>
  partWith({ nft: [{ table: { family: 'inet', name: 't' } }, ...members] });
const canonical = (part: FirewallPart) => JSON.stringify(capturedOf(rulesetOf(part)));
const match = (left: object, right: unknown, op = '==') => ({ match: { op, left, right } });
const state = { ct: { key: 'state' } };
const dport = { payload: { protocol: 'tcp', field: 'dport' } };
const setOf = (more: object) => ({
  set: { family: 'inet', table: 't', name: 's', type: 'inet_service', ...more },
});
const filling = { set: { op: 'update', elem: dport, set: '@s' } };

/** Two ways in which versions print one thing. */
const same: readonly (readonly [string, Members, Members])[] = [
  ['a priority by its name', [chain({ prio: 0 })], [chain({ prio: 'filter' })]],
  ['a priority beside a name', [chain({ prio: -310 })], [chain({ prio: 'raw - 10' })]],
  [
    'handles',
    [chain({ prio: 0, handle: 4 }), ruleOf([{ accept: null }], { handle: 7 })],
    [chain({ prio: 0, handle: 9 }), ruleOf([{ accept: null }])],
  ],
  ['a default policy', [chain({ prio: 0, policy: 'accept' })], [chain({ prio: 0, policy: undefined })]],
  [
    'counters',
    [chain({ prio: 0 }), ruleOf([{ counter: { packets: 1, bytes: 2 } }, { drop: null }])],
    [chain({ prio: 0 }), ruleOf([{ counter: null }, { drop: null }])],
  ],
  [
    'a list of states',
    [chain({ prio: 0 }), ruleOf([match(state, ['related', 'established'], 'in'), { accept: null }])],
    [chain({ prio: 0 }), ruleOf([match(state, { set: ['established', 'related'] }), { accept: null }])],
  ],
  [
    'the order of an anonymous set',
    [chain({ prio: 0 }), ruleOf([match(dport, { set: [443, 80] })])],
    [chain({ prio: 0 }), ruleOf([match(dport, { set: [80, 443] })])],
  ],
  [
    'an implied protocol',
    [chain({ prio: 0 }), ruleOf([match({ meta: { key: 'l4proto' } }, 'tcp'), match(dport, 22)])],
    [chain({ prio: 0 }), ruleOf([match(dport, 22)])],
  ],
  [
    'the usual reject',
    [chain({ prio: 0 }), ruleOf([{ reject: { type: 'icmpx', expr: 'port-unreachable' } }])],
    [chain({ prio: 0 }), ruleOf([{ reject: null }])],
  ],
  [
    'the usual burst',
    [chain({ prio: 0 }), ruleOf([{ limit: { rate: 3, per: 'second', burst: 5 } }])],
    [chain({ prio: 0 }), ruleOf([{ limit: { rate: 3, per: 'second' } }])],
  ],
  [
    'elements of a set in another order',
    [{ set: { family: 'inet', table: 't', name: 's', type: 'inet_service', elem: [1, 2] } }],
    [
      {
        set: {
          family: 'inet',
          table: 't',
          name: 's',
          type: 'inet_service',
          handle: 3,
          elem: [2, { elem: { val: 1, counter: { packets: 3 } } }],
        },
      },
    ],
  ],
  [
    'elements that time out, of a set that traffic may fill',
    [setOf({ flags: ['dynamic', 'timeout'] })],
    [setOf({ flags: ['dynamic', 'timeout'], elem: [{ elem: { val: 7, timeout: 60, expires: 3 } }] })],
  ],
  [
    'elements that time out, of a set that a rule fills',
    [setOf({ flags: ['timeout'] }), chain({ prio: 0 }), ruleOf([filling])],
    [
      setOf({ flags: ['timeout'], elem: [{ elem: { val: 7, expires: 3 } }] }),
      chain({ prio: 0 }),
      ruleOf([filling]),
    ],
  ],
  [
    'an element without its time, of a set that nothing fills',
    [setOf({ flags: ['timeout'], elem: [{ elem: { val: 7, timeout: 60, expires: 3 } }] })],
    [setOf({ flags: ['timeout'], elem: [{ elem: { val: 7, timeout: 60, expires: 59 } }] })],
  ],
  [
    'the state of a counter and a quota',
    [
      { counter: { family: 'inet', table: 't', name: 'c', packets: 1, bytes: 2 } },
      { quota: { family: 'inet', table: 't', name: 'q', bytes: 9, used: 1 } },
    ],
    [
      { counter: { family: 'inet', table: 't', name: 'c', packets: 5, bytes: 6 } },
      { quota: { family: 'inet', table: 't', name: 'q', bytes: 9, used: 3 } },
    ],
  ],
  [
    'devices of a flowtable',
    [{ flowtable: { family: 'inet', table: 't', name: 'f', hook: 'ingress', prio: 0, dev: ['b', 'a'] } }],
    [{ flowtable: { family: 'inet', table: 't', name: 'f', hook: 'ingress', prio: 0, dev: ['a', 'b'] } }],
  ],
  [
    'a hash of Calico in a comment',
    [chain({ prio: 0 }), ruleOf([{ drop: null }], { comment: 'cali:abcdefghijklmnop; x' })],
    [chain({ prio: 0 }), ruleOf([{ drop: null }], { comment: 'cali:ponmlkjihgfedcba; x' })],
  ],
];

/** What looks alike, and is not the same. */
const other: readonly (readonly [string, Members, Members])[] = [
  [
    'two named limits',
    [chain({ prio: 0 }), ruleOf([{ limit: 'a' }, { drop: null }])],
    [chain({ prio: 0 }), ruleOf([{ limit: 'b' }, { drop: null }])],
  ],
  [
    'two quotas',
    [{ quota: { family: 'inet', table: 't', name: 'q', bytes: 9 } }],
    [{ quota: { family: 'inet', table: 't', name: 'q', bytes: 10 } }],
  ],
  [
    'a named counter',
    [chain({ prio: 0 }), ruleOf([{ counter: 'a' }])],
    [chain({ prio: 0 }), ruleOf([{ counter: 'b' }])],
  ],
  [
    'not these states',
    [chain({ prio: 0 }), ruleOf([match(state, ['new'], '!=')])],
    [chain({ prio: 0 }), ruleOf([match(state, ['new'], 'in')])],
  ],
  [
    'a reject of another family',
    [chain({ prio: 0 }), ruleOf([{ reject: { type: 'icmp', expr: 'port-unreachable' } }])],
    [chain({ prio: 0 }), ruleOf([{ reject: null }])],
  ],
  [
    'an element for years',
    [setOf({ flags: ['dynamic', 'timeout'] })],
    [setOf({ flags: ['dynamic', 'timeout'], elem: [{ elem: { val: 7, timeout: 99_999_999, expires: 3 } }] })],
  ],
  [
    'an element that times out within a day, of a set that nothing fills (row 333)',
    [setOf({ flags: ['timeout'] })],
    [setOf({ flags: ['timeout'], elem: [{ elem: { val: 7, timeout: 82_800, expires: 3 } }] })],
  ],
  [
    'an element of the time of its set, of a set that nothing fills (row 333)',
    [setOf({ flags: ['timeout'], timeout: 82_800 })],
    [setOf({ flags: ['timeout'], timeout: 82_800, elem: [{ elem: { val: 7, expires: 3 } }] })],
  ],
  [
    'the order of rules',
    [chain({ prio: 0 }), ruleOf([{ drop: null }]), ruleOf([{ accept: null }])],
    [chain({ prio: 0 }), ruleOf([{ accept: null }]), ruleOf([{ drop: null }])],
  ],
];

describe('one model of what several versions print', () => {
  for (const [what, one, two] of same)
    it(`has one form for ${what}`, () => assert.equal(canonical(made(...one)), canonical(made(...two))));
  for (const [what, one, two] of other)
    it(`tells apart ${what}`, () => assert.notEqual(canonical(made(...one)), canonical(made(...two))));

  it('has one form for counters and ids of iptables', () => {
    const text = (counts: string, prefix: string, id: string) =>
      partWith({
        legacy: {
          ip: `# Generated by somebody\n*filter\n:INPUT DROP ${counts}\n:FORWARD ACCEPT ${counts}\n:OUTPUT ACCEPT ${counts}\n${prefix}-A INPUT -m comment --comment "name: \\"x\\" id: \\"${id}\\"" -j DROP\nCOMMIT\n`,
          ip6: null,
        },
      });
    assert.equal(
      canonical(text('[0:0]', '', 'a'.repeat(64))),
      canonical(text('[12:3456]', '[7:8] ', 'b'.repeat(64))),
    );
  });

  for (const folder of [
    'fw-01-worker-iptables-nft',
    'fw-04-worker-legacy',
    'fw-05-worker-nft',
    'kube-proxy-iptables',
    'kube-proxy-nftables',
  ])
    it(`reads again what it captured of ${folder}`, async () => {
      const ruleset = rulesetOf(await firewallPartOfFolder(recordedNode(folder)));
      const again = rulesetOfBaseline(JSON.parse(JSON.stringify(capturedOf(ruleset))));
      const plain = ({ chains, objects }: typeof ruleset) => [
        [...chains].map(([key, { base, rules }]) => [
          key,
          base,
          rules.map((rule) => [rule.text, rule.shown(), rule.clauses()]),
        ]),
        [...objects],
      ];
      assert.deepEqual(plain(again), plain(comparedOf(ruleset)));
    });

  it('counts rules of iptables over nf_tables once', async () => {
    const { chains } = rulesetOf(await firewallPartOfFolder(recordedNode('fw-01-worker-iptables-nft')));
    assert.deepEqual(
      [...chains.keys()].filter((key) => key.startsWith('nft')),
      [],
    );
    assert.equal(chains.get('iptables ip filter INPUT')?.rules.length, 3);
  });

  it('takes a chain from both where nft shows more of it than iptables', async () => {
    const part = await firewallPartOfFolder(recordedNode('fw-01-worker-iptables-nft'));
    const more = { rule: { family: 'ip', table: 'filter', chain: 'INPUT', expr: [{ accept: null }] } };
    const { chains } = rulesetOf({ ...part, nft: [...(part.nft ?? []), more] });
    assert.equal(chains.get('nft ip filter INPUT')?.rules.length, 4);
  });
});

describe('a statement of nft whose form nobody here knows', () => {
  for (const statement of ['accept', ['accept'], { a: 1, b: 2 }, { jump: 'elsewhere' }, 7])
    it(`is compared, and may let in: ${JSON.stringify(statement)}`, () => {
      const part = (one: unknown) =>
        made(chain({ prio: 0 }), { rule: { family: 'inet', table: 't', chain: 'input', expr: [one] } });
      assert.notEqual(canonical(part(statement)), canonical(part({ drop: null })));
      assert.equal(canonical(part(statement)), canonical(part(structuredClone(statement))));
      const forbid = ['forbid: ["input tcp 22 from anywhere"]'];
      assert.deepEqual(failing(judged(part(statement), [referenceOf(part(statement))], forbid)), [
        'fw_policy_open',
      ]);
    });
});

describe('a part that is made to cost a server much', () => {
  const tcpDport = { payload: { protocol: 'tcp', field: 'dport' } };
  const all = Array.from({ length: 256 }, (_, port) => [port, { return: null }]);
  const map = {
    map: { family: 'inet', table: 't', name: 'm', type: 'inet_service', map: 'verdict', elem: all },
  };
  const save = (rules: readonly string[], chains: readonly string[] = []) =>
    partWith({
      iptables: {
        ip: [
          '*filter',
          ':INPUT DROP [0:0]',
          ...chains.map((one) => `:${one} - [0:0]`),
          ...rules,
          'COMMIT',
          '',
        ].join('\n'),
        ip6: null,
      },
    });
  const times = <T>(count: number, of: (index: number) => T): T[] =>
    Array.from({ length: count }, (_, i) => of(i));

  it('is read where it has as many rules as may be', () => {
    const part = save(times(50_000, () => '-A INPUT -j LOG'));
    assert.equal(rulesetOf(part).chains.get('iptables ip filter INPUT')?.rules.length, 50_000);
  });

  for (const [what, part] of [
    ['too many rules', save(times(50_001, () => '-A INPUT -j LOG'))],
    [
      'too many chains',
      save(
        [],
        times(16_385, (i) => `c${i}`),
      ),
    ],
    [
      'too many objects',
      made(...times(16_385, (i) => ({ counter: { family: 'inet', table: 't', name: `c${i}` } }))),
    ],
    ['a line without end', save([`-A INPUT ${'-s 1 '.repeat(20_000)}`])],
    [
      'a rule without end',
      made(chain({ prio: 0 }), ruleOf(times(20_000, () => ({ vmap: { key: tcpDport, data: '@m' } })))),
    ],
    [
      'a set without end',
      made({ set: { family: 'inet', table: 't', name: 's', type: 'mark', elem: times(65_537, (i) => i) } }),
    ],
  ] as const)
    it(`is refused before anything is made of it: ${what} (row 160)`, () => {
      assert.throws(() => rulesetOf(part), Rejection);
    });

  for (const [what, part] of [
    [
      'rules of maps alone',
      made(
        map,
        chain({ prio: 0 }),
        ...times(20, () => ruleOf(times(700, () => ({ vmap: { key: tcpDport, data: '@m' } })))),
      ),
    ],
    [
      'a map in each rule',
      made(
        map,
        chain({ prio: 0 }),
        ...times(13_000, () => ruleOf([{ vmap: { key: tcpDport, data: '@m' } }])),
      ),
    ],
    [
      'one address after the other',
      save(times(40_000, (i) => `-A INPUT -s 10.${i >> 16}.${(i >> 8) & 255}.${(i * 7) & 255} -j DROP`)),
    ],
    [
      'jumps that double',
      save(
        [
          '-A INPUT -j c0',
          ...times(15, (i) => times(2000, () => `-A c${i} -m mark --mark 0x1 -j c${i + 1}`)).flat(),
        ],
        times(17, (i) => `c${i}`),
      ),
    ],
    [
      'jumps in a circle',
      save(
        ['-A INPUT -j a', ...times(20_000, () => '-A a -j b'), ...times(20_000, () => '-A b -j a')],
        ['a', 'b'],
      ),
    ],
    [
      'ports without end',
      save(
        times(
          90,
          (i) =>
            `-A INPUT -p tcp -m multiport --dports ${times(3000, (k) => (k * 21 + i) % 65536).join(',')} -j DROP`,
        ),
      ),
    ],
  ] as const)
    it(`is judged in bounded time and memory: ${what} (row 160)`, () => {
      const reference = referenceOf(made(chain({ prio: 0 })));
      const forbid = [
        'forbid: ["input tcp 22 from anywhere", "forward any from anywhere", "input udp 53 from 10.0.0.0/8"]',
      ];
      const bytes = Buffer.from(JSON.stringify(part));
      assert.ok(bytes.length < limits.parts.firewall);
      let codes: readonly string[] = [];
      const took = cpuMs(() => {
        codes = failing(judged(bytes, [reference], forbid));
      });
      assert.ok(codes.includes('fw_drift'), codes.join());
      // Some 0.2 s on an idle core; without bounds these take many seconds, or all memory there is.
      assert.ok(took < 3_000, `${took} ms`);
    }).timeout(30_000);
});

describe('a part that cannot be a ruleset', () => {
  const saved = (ip: string) => partWith({ iptables: { ip, ip6: null } });
  for (const [what, part] of [
    ['a text that is cut off', saved('*filter\n:INPUT DROP [0:0]\n')],
    ['an error in place of rules', saved('Permission denied (you must be root)\n')],
    ['a rule of no chain', saved('*filter\n-A INPUT -j DROP\nCOMMIT\n')],
    ['a table twice', saved('*filter\nCOMMIT\n*filter\nCOMMIT\n')],
    ['a policy of a chain that has none', saved('*filter\n:MINE DROP [0:0]\nCOMMIT\n')],
    [
      'an open quotation mark',
      saved('*filter\n:INPUT DROP [0:0]\n-A INPUT -m comment --comment "x -j DROP\nCOMMIT\n'),
    ],
    [
      'legacy tables that were not listed',
      saved('# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n'),
    ],
    ['two members in one', partWith({ nft: [{ table: { family: 'ip', name: 't' }, chain: {} }] })],
    ['a chain of no table', made({ chain: { family: 'ip', table: 'x', name: 'c' } })],
    ['a rule of no chain in nft', made(ruleOf([{ accept: null }]))],
    ['a hook without a priority', made(chain({}))],
    ['another policy', made(chain({ prio: 0, policy: 'perhaps' }))],
    [
      'a rule that is nested too deep',
      made(chain({ prio: 0 }), ruleOf([match({}, JSON.parse(`${'{"a":'.repeat(60)}1${'}'.repeat(60)}`))])),
    ],
  ] as const)
    it(`is refused: ${what}`, () => {
      assert.throws(
        () => capturedOf(rulesetOf(part)),
        (error: unknown) => error instanceof Rejection && error.code === 'malformed',
      );
    });

  it('is refused where a reference has an element of a set that is no value', () => {
    const set = { family: 'inet', table: 't', type: 'set', name: 's', head: '{}' } as const;
    const read = (element: string) =>
      rulesetOfBaseline({ chains: [], objects: [{ ...set, elements: [element] }] });
    assert.equal(read('22').objects.size, 1);
    assert.throws(
      () => read('{22'),
      (error: unknown) => error instanceof Rejection && error.code === 'malformed',
    );
  });
});
