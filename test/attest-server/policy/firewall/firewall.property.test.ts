import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseOpening } from '../../../../attest-server/policy/firewall/opening.ts';
import {
  addressRange,
  intersect,
  normalised,
  subtract,
} from '../../../../attest-server/policy/firewall/ranges.ts';
import {
  capturedOf,
  rulesetOf,
  rulesetOfBaseline,
} from '../../../../attest-server/policy/firewall/read-ruleset.ts';
import { waysIn } from '../../../../attest-server/policy/firewall/walk.ts';
import { diffLines } from '../../../../attest-server/policy/line-diff.ts';
import { parseFirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { trials } from '../../../trials.ts';
import { partWith } from './made-firewall.ts';

function valueOrRejection(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof Rejection, String(error));
  }
}

const opening = parseOpening('input tcp 22 from anywhere but 10.0.0.0/8');
assert.ok(typeof opening !== 'string');

/** Reads, judges, captures and reads again. */
function judge(part: Parameters<typeof rulesetOf>[0]): void {
  const ruleset = rulesetOf(part);
  if (typeof opening !== 'string') waysIn(ruleset, opening);
  for (const { rules } of ruleset.chains.values()) for (const rule of rules) rule.shown();
  rulesetOfBaseline(capturedOf(ruleset));
}

const word = fc.constantFrom(
  '*filter',
  '*nat',
  'COMMIT',
  ':INPUT DROP [0:0]',
  ':A - [0:0]',
  '-A INPUT -j A',
  '-A A -j INPUT',
  '-A INPUT',
  '-A A',
  '!',
  '-s',
  '10.0.0.0/8',
  '-p',
  'tcp',
  '--dport',
  '22:',
  '-m',
  'comment',
  '--comment',
  '"x',
  '"',
  '\\',
  '-j',
  'ACCEPT',
  '-g',
  '\n',
  ' ',
  "# Table `filter' is incompatible, use nft",
);
const texts = fc.array(word, { maxLength: 40 }).map((words) => words.join(''));
const lines = fc
  .array(word, { maxLength: 40 })
  .map(
    (words) =>
      `*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n-A INPUT ${words.filter((one) => !one.startsWith('*') && one !== '\n').join(' ')}\nCOMMIT\n`,
  );

const leaf = fc.constantFrom<unknown>(
  'tcp',
  'dport',
  22,
  null,
  '@s',
  '==',
  'lo',
  'established',
  '10.0.0.0',
  true,
  -1,
  '*',
);
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie('tree'), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom(
        'match',
        'left',
        'right',
        'op',
        'payload',
        'protocol',
        'field',
        'meta',
        'ct',
        'key',
        'set',
        'elem',
        'val',
        'vmap',
        'data',
        'concat',
        'prefix',
        'addr',
        'len',
        'range',
        'jump',
        'target',
        'accept',
        'drop',
        'limit',
        'quota',
        'reject',
        'xt',
        'type',
        'name',
        'timeout',
        'constructor',
        'toString',
      ),
      tie('tree'),
      { maxKeys: 3 },
    ),
  ),
}));

describe('rules that anybody may send', () => {
  it('are a value or a Rejection, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
        valueOrRejection(() => judge(parseFirewallPart(Buffer.from(bytes)))),
      ),
    );
  });

  it('are so where a text of iptables is anything', () => {
    fc.assert(
      fc.property(fc.oneof(texts, lines, fc.string()), (text) =>
        valueOrRejection(() =>
          judge(partWith({ iptables: { ip: text, ip6: null }, legacy: { ip: null, ip6: text } })),
        ),
      ),
      { numRuns: trials(50) },
    );
  });

  it('are so where a rule, an element or a member of nft is anything', () => {
    fc.assert(
      fc.property(
        fc.array(tree, { maxLength: 4 }),
        fc.dictionary(
          fc.constantFrom('chain', 'rule', 'set', 'table', 'flowtable', 'x'),
          fc.dictionary(
            fc.constantFrom('family', 'table', 'name', 'hook', 'prio', 'expr', 'elem', 'flags'),
            tree,
          ),
          { maxKeys: 1 },
        ),
        (expr, member) => {
          const family = 'inet';
          valueOrRejection(() =>
            judge(
              partWith({
                nft: [
                  { table: { family, name: 't' } },
                  { chain: { family, table: 't', name: 'c', type: 'filter', hook: 'input', prio: 0 } },
                  { set: { family, table: 't', name: 's', type: 'x', elem: expr } },
                  {
                    rule: {
                      family,
                      table: 't',
                      chain: 'c',
                      expr: expr.map((one) =>
                        typeof one === 'object' && one !== null && !Array.isArray(one)
                          ? one
                          : {
                              match: {
                                op: '==',
                                left: { payload: { protocol: 'tcp', field: 'dport' } },
                                right: one,
                              },
                            },
                      ),
                    },
                  },
                  member,
                ],
              }),
            ),
          );
        },
      ),
      { numRuns: trials(100) },
    );
  });

  it('have openings that are one or a sentence on what is wrong, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc
            .array(
              fc.constantFrom('input', 'tcp', '22', 'from', 'anywhere', 'but', '10.0.0.0/8', '::/0', ','),
            )
            .map((all) => all.join(' ')),
        ),
        (text) => {
          const parsed = parseOpening(text);
          assert.ok(typeof parsed === 'string' || parsed.sources[4].length + parsed.sources[6].length > 0);
        },
      ),
    );
  });
});

describe('a difference of lines', () => {
  const list = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 12 });
  it('has each line of both sides once, and what stayed is the same', () => {
    fc.assert(
      fc.property(list, list, (before, after) => {
        const found = diffLines(before, after);
        const left = found
          .filter(({ is }) => is === 'same' || is === 'removed' || is === 'moved-from')
          .map((line) => line.before);
        const right = found
          .filter(({ is }) => is === 'same' || is === 'added' || is === 'moved-to')
          .map((line) => line.after);
        assert.deepEqual(left, [...before.keys()]);
        assert.deepEqual(right, [...after.keys()]);
        for (const line of found)
          if (line.is === 'same' || line.is.startsWith('moved'))
            assert.equal(before[line.before], after[line.after]);
        if (found.every(({ is }) => is === 'same')) assert.deepEqual(before, after);
      }),
      { numRuns: trials(100) },
    );
  });
});

const pair = (from: bigint, to: bigint): readonly [bigint, bigint] => [from, to];

describe('ranges', () => {
  const some = fc
    .array(
      fc.tuple(fc.bigInt(0n, 40n), fc.bigInt(0n, 40n)).map(([a, b]) => (a < b ? pair(a, b) : pair(b, a))),
      { maxLength: 5 },
    )
    .map(normalised);
  const has = (ranges: ReturnType<typeof normalised>, value: bigint) =>
    ranges.some(([from, to]) => from <= value && value <= to);
  it('have in common and leave what each value says', () => {
    fc.assert(
      fc.property(some, some, (a, b) => {
        for (let value = 0n; value <= 41n; value++) {
          assert.equal(has(intersect(a, b), value), has(a, value) && has(b, value));
          assert.equal(has(subtract(a, b), value), has(a, value) && !has(b, value));
        }
      }),
    );
  });

  it('are read of every address', () => {
    fc.assert(fc.property(fc.ipV4(), (text) => assert.equal(addressRange(text)?.family, 4)));
    fc.assert(fc.property(fc.ipV6(), (text) => assert.equal(addressRange(text)?.family, 6)));
    fc.assert(fc.property(fc.string(), (text) => void addressRange(text)));
  });
});
