import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { faultLine, parseSaid } from '../../../agent/netfilter/messages.ts';
import { NetfilterFault } from '../../../agent/netfilter/netfilter-fault.ts';
import { parseNftRuleset } from '../../../agent/netfilter/nft-ruleset.ts';
import { OwnedSum } from '../../../agent/netfilter/owned-rules.ts';
import { concernsCompared } from '../../../agent/netfilter/rule-event.ts';
import { parseSavedTables } from '../../../agent/netfilter/saved-tables.ts';

/** The value, or null for a fault that has a name; any other error fails the test. */
function valueBy<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    assert.ok(error instanceof NetfilterFault, String(error));
    return null;
  }
}

const word = fc.constantFrom(
  'ip',
  'ip6',
  'inet',
  'filter',
  'nat',
  'kube-proxy',
  'KUBE-X',
  'INPUT',
  't',
  'cali-a',
  '',
);
const kind = fc.constantFrom(
  'table',
  'chain',
  'rule',
  'set',
  'map',
  'element',
  'counter',
  'quota',
  'metainfo',
  '__proto__',
);
const about = fc.record(
  {
    family: word,
    table: word,
    name: word,
    chain: word,
    handle: fc.nat(),
    hook: word,
    elem: fc.jsonValue(),
    expr: fc.jsonValue(),
    comment: fc.jsonValue(),
    stmt: fc.jsonValue(),
  },
  { requiredKeys: [] },
);
const member = fc.tuple(kind, fc.oneof(about, fc.jsonValue())).map(([key, value]) => ({ [key]: value }));
const line = fc.oneof(
  fc.constantFrom(
    '*filter',
    '*nat',
    ':INPUT DROP [0:0]',
    ':KUBE-X - [1:2]',
    '-A INPUT -j ACCEPT',
    'COMMIT',
    '# x',
    '',
  ),
  fc.constantFrom(
    '-A KUBE-X -m comment --comment "a \\\\" b" -j DROP',
    '-A INPUT --comment "',
    '[1:2] -A INPUT',
  ),
  fc.string(),
);

describe('whatever a program of the firewall writes', () => {
  it('is a ruleset of nft or a fault with a name', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(member).map((nftables) => JSON.stringify({ nftables })),
        ),
        (text) => {
          valueBy(() => parseNftRuleset(text, new OwnedSum(), () => false));
        },
      ),
    );
  });

  it('is the same ruleset in whatever way nft sets blanks', () => {
    const parse = (text: string) => valueBy(() => parseNftRuleset(text, new OwnedSum(), () => false)) ?? null;
    fc.assert(
      fc.property(fc.array(member), fc.constantFrom(1, 2, '\t', '\n'), (nftables, blanks) => {
        assert.deepEqual(
          parse(JSON.stringify({ nftables }, null, blanks)),
          parse(JSON.stringify({ nftables })),
        );
      }),
    );
  });

  it('is a fault where it is cut, or goes on', () => {
    const text = JSON.stringify({
      nftables: [{ metainfo: { a: '"]}\\\\' } }, { table: { family: 'ip', name: 't' } }],
    });
    const parse = (given: string) => valueBy(() => parseNftRuleset(given, new OwnedSum(), () => false));
    assert.equal(parse(text)?.members.length, 2);
    for (let length = 0; length < text.length; length++) assert.equal(parse(text.slice(0, length)), null);
    for (const rest of ['x', ',', ' {}', `${' '.repeat(100)}]`]) assert.equal(parse(text + rest), null);
  });

  it('shows a hook whatever its chain is named, also where its name is escaped', () => {
    const hooked = JSON.stringify({
      nftables: [
        { chain: { family: 'ip', table: 'filter', name: 'KUBE-X', hook: 'input' } },
        { rule: { family: 'ip', table: 'filter', chain: 'KUBE-X', expr: [{ accept: null }] } },
      ],
    });
    assert.equal(parseNftRuleset(hooked, new OwnedSum(), () => false).members.length, 2);
    assert.equal(
      valueBy(() =>
        parseNftRuleset(hooked.replace('"chain":{', '"ch\\u0061in":{'), new OwnedSum(), () => false),
      ),
      null,
    );
  });

  it('is not nested too deep to be read', () => {
    const expr = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const text = `{"nftables":[{"rule":{"family":"ip","table":"t","chain":"c","expr":${expr}}}]}`;
    assert.equal(
      valueBy(() => parseNftRuleset(text, new OwnedSum(), () => false)),
      null,
    );
  });

  it('is what iptables saved, which stays the same when it is read again, or a fault with a name', () => {
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 12 }).map((lines) => lines.join('\n')),
        (text) => {
          const read = (given: string) =>
            valueBy(() => parseSavedTables(given, 'iptables', 'ip', new OwnedSum(), () => false));
          const saved = read(text);
          if (saved !== null) assert.equal(read(saved.text)?.text, saved.text);
        },
      ),
    );
  });

  it('is an event that concerns what is compared, or one that does not', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          member.map((value) => JSON.stringify({ add: value })),
        ),
        (text) => {
          assert.equal(typeof concernsCompared(text, new Map()), 'boolean');
        },
      ),
    );
  });

  it('is said on the socket as it was: each fault comes back', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const said = parseSaid(faultLine(new NetfilterFault('locked', text)).slice(0, -1), 1);
        assert.ok(said.kind === 'fault' && said.fault.code === 'locked');
        valueBy(() => parseSaid(text, 1));
      }),
    );
  });

  it('is read in a time that grows with its length alone', () => {
    const quoted = `-A INPUT -m comment --comment "${'\\"'.repeat(200_000)} -j DROP`;
    const text = `*filter\n:INPUT DROP [0:0]\n${quoted}\nCOMMIT\n`;
    const from = performance.now();
    assert.equal(
      valueBy(() => parseSavedTables(text, 'legacy', 'ip6', new OwnedSum(), () => false)),
      null,
    );
    assert.ok(performance.now() - from < 1_000);
  });
});
