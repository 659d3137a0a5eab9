import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseNft } from '../../../../attest-server/policy/firewall/nft-json.ts';

/** As a person reads the one rule of a chain. @param expr as `nft -j` prints it */
function shown(...expr: readonly unknown[]): string | undefined {
  const at = { family: 'inet', table: 'filter' };
  const tables = parseNft([
    { table: { family: 'inet', name: 'filter' } },
    { chain: { ...at, name: 'input' } },
    { rule: { ...at, chain: 'input', expr } },
  ]);
  return tables.get('inet filter')?.chains.get('input')?.rules[0]?.shown();
}

const match = (left: unknown, right: unknown, op = '==') => ({ match: { op, left, right } });
const meta = (key: string) => ({ meta: { key } });
const dport = { payload: { protocol: 'tcp', field: 'dport' } };
const accept = { accept: null };

describe('a rule of nft', () => {
  for (const [expr, words] of [
    [[match(meta('iifname'), 'eth0'), accept], 'iifname "eth0" accept'],
    [
      [match(dport, { set: [8080, 22, { range: [100, 200] }] }), accept],
      'tcp dport { 22, 100-200, 8080 } accept',
    ],
    [[match(meta('mark'), 65536), accept], 'meta mark 0x00010000 accept'],
    [[match({ '&': [meta('mark'), 255] }, 1), accept], 'meta mark & 0x000000ff == 0x00000001 accept'],
    [[match({ ct: { key: 'state' } }, ['related', 'new'], 'in'), accept], 'ct state related,new accept'],
    [[match(meta('skuid'), 0), accept], 'meta skuid 0 accept'],
    [[{ log: { prefix: 'dropped: ', level: 'info' } }], 'log prefix "dropped: " level info'],
    [[{ limit: { rate: 5, burst: 5, per: 'second' } }, accept], 'limit rate 5/second burst 5 packets accept'],
    [
      [{ limit: { rate: 1, per: 'second', rate_unit: 'mbytes', inv: true } }],
      'limit rate over 1 mbytes/second',
    ],
    [[{ redirect: { port: 8080 } }], 'redirect to :8080'],
    [[{ masquerade: { flags: ['persistent', 'random'] } }], 'masquerade random,persistent'],
    [[{ dnat: { family: 'ip6', addr: 'fe80::1', port: 80 } }], 'dnat ip6 to [fe80::1]:80'],
    [[{ dnat: { addr: { range: ['10.0.0.1', '10.0.0.5'] } } }], 'dnat to 10.0.0.1-10.0.0.5'],
    [[{ queue: { num: 3, flags: 'bypass' } }], 'queue flags bypass to 3'],
    [[{ reject: { type: 'icmp', expr: 'host-prohibited' } }], 'reject with icmp host-prohibited'],
    [[{ reject: { type: 'tcp reset' } }], 'reject with tcp reset'],
  ] as const)
    it(`is shown in nft's own words: ${words}`, () => {
      assert.equal(shown(...expr), words);
    });

  it('has each word of its own that is none of nft in quotation marks', () => {
    const words = 'accept # x';
    for (const expr of [
      match(dport, 22, words),
      match({ payload: { protocol: words, field: 'dport' } }, 22),
      match({ ct: { key: words } }, 22),
      { reject: { type: words } },
      { log: { level: words } },
      { dnat: { family: words, addr: '10.0.0.1' } },
      { jump: { target: words } },
      { xt: { type: words, name: words } },
      { limit: { rate: words, per: words } },
      { [words]: null },
    ])
      assert.ok(shown(expr)?.includes(JSON.stringify(words)), JSON.stringify(expr));
  });
});
