import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseImaPolicy } from '../../../attest-server/formats/ima-policy.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

const word = fc.constantFrom(
  ...['func=BPRM_CHECK', 'func=FILE_CHECK', 'func=KEY_CHECK', 'func=MMAP_CHECK', 'mask=MAY_EXEC'],
  ...['mask=^MAY_READ', 'mask=MAY_READ', 'uid=0', 'euid=0', 'fowner=0', 'fsmagic=0x9fa0', 'fsname=tmpfs'],
  ...['pcr=11', 'digest_type=verity', 'obj_type=x', 'permit_directio', 'template=ima-sig'],
);
const rule = fc
  .tuple(fc.constantFrom('measure', 'dont_measure', 'appraise'), fc.array(word, { maxLength: 4 }))
  .map(([action, words]) => {
    const keys = new Set<string>();
    const once = words.filter(
      (one) => !keys.has(one.split('=')[0] ?? '') && keys.add(one.split('=')[0] ?? ''),
    );
    return [action, ...once].join(' ');
  });
const rules = fc.array(rule, { minLength: 1, maxLength: 12 });
const coveredBy = (lines: readonly string[]) => parseImaPolicy(lines.join('\n')).covers;

describe('any text of an IMA policy', () => {
  it('gives what it covers, or a Rejection', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string({ unit: 'binary' }),
          rules.map((all) => all.join('\n')),
        ),
        (text) => {
          try {
            const { covers, doubts } = parseImaPolicy(text);
            assert.equal(new Set(covers).size, covers.length);
            assert.ok(doubts.every(({ line }) => line >= 1 && line <= text.split('\n').length));
          } catch (error) {
            assert.ok(error instanceof Rejection);
          }
        },
      ),
    );
  });

  it('covers no less where a rule that measures stands before it, in its PCR', () => {
    fc.assert(
      fc.property(rules, rule, (lines, first) => {
        fc.pre(/^measure /.test(first) && !/pcr=|digest_type=/.test(first));
        const before = coveredBy(lines);
        const after = coveredBy([first, ...lines]);
        assert.deepEqual(
          before.filter((area) => !after.includes(area)),
          [],
        );
      }),
    );
  });

  it('covers no more where a rule that leaves out stands before it', () => {
    fc.assert(
      fc.property(rules, rule, (lines, first) => {
        const before = coveredBy(lines);
        const after = coveredBy([first.replace(/^(measure|appraise)/, 'dont_measure'), ...lines]);
        assert.deepEqual(
          after.filter((area) => !before.includes(area)),
          [],
        );
      }),
    );
  });

  it('covers the same whatever stands after what decides', () => {
    fc.assert(
      fc.property(rules, rules, (lines, later) => {
        const [before, after] = [coveredBy(lines), coveredBy([...lines, ...later])];
        assert.deepEqual(
          before.filter((area) => !after.includes(area)),
          [],
        );
      }),
    );
  });
});
