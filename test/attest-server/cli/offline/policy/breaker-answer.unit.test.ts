import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { SimulatedNodeView } from '../../../../../attest-server/api/policy-api.ts';
import { breakerAnswer } from '../../../../../attest-server/cli/offline/policy/breaker-answer.ts';
import type { ReasonCode } from '../../../../../attest-server/wire/reasons.ts';
import { reasonOf } from '../../../http/api-fixture.ts';

const trusted = { taints: [], label: true };
/** Not proven at present: what is trusted now would wait for a person, since the policy is our change. */
const failing = (index: number, code: ReasonCode, value: string, group = 'workers'): SimulatedNodeView => ({
  node: `${group}-${index}`,
  before: { state: 'pending', group, mode: 'enforce', reasons: [] },
  after: { state: 'untrusted', group, mode: 'enforce', reasons: [reasonOf(code, { value })] },
  changed: true,
  note: null,
  marks: { before: trusted, after: { taints: [`assay.dev/untrusted=${code}`], label: false } },
});
const good = (index: number, group = 'workers'): SimulatedNodeView => ({
  ...failing(index, 'kernel_unknown', '', group),
  after: { state: 'trusted', group, mode: 'enforce', reasons: [] },
  changed: false,
  marks: { before: trusted, after: trusted },
});
const many = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, index) => make(index));

describe('what the breaker would make of another policy', () => {
  it('is nothing where no node is in a cluster', () => {
    assert.equal(breakerAnswer(many(9, (index) => ({ ...good(index), marks: null }))), null);
  });

  it('is to taint one node of ten, and to hold four that fail the same way', () => {
    const one = [...many(9, (index) => good(index)), failing(9, 'kernel_unknown', 'kernel ab')];
    assert.deepEqual(breakerAnswer(one), { tainted: 1, waiting: 0, held: [] });
    const four = [
      ...many(6, (index) => good(index)),
      ...many(4, (index) => failing(index + 6, 'kernel_unknown', 'kernel ab')),
    ];
    assert.deepEqual(breakerAnswer(four), {
      tainted: 0,
      waiting: 4,
      held: [{ group: 'workers', code: 'kernel_unknown', value: 'kernel ab', nodes: 4 }],
    });
  });

  it('is to hold all that are trusted now, whatever they fail by (row 376)', () => {
    const items = many(10, (index): SimulatedNodeView => {
      const item = failing(index, 'secureboot_off', '');
      return { ...item, before: { state: 'trusted', group: 'workers', mode: 'enforce', reasons: [] } };
    });
    assert.deepEqual(breakerAnswer(items), {
      tainted: 0,
      waiting: 10,
      held: [{ group: 'workers', code: 'secureboot_off', value: 'policy', nodes: 10 }],
    });
  });

  it('is to taint at once what is no drift, however many it is', () => {
    const items = many(10, (index) => failing(index, 'secureboot_off', ''));
    assert.deepEqual(breakerAnswer(items), { tainted: 10, waiting: 0, held: [] });
  });

  it('counts each group for itself, and those that have the taint already among what a group may carry', () => {
    const tainted = (index: number): SimulatedNodeView => {
      const item = failing(index, 'kernel_unknown', 'kernel old');
      return {
        ...item,
        before: item.after,
        changed: false,
        marks: item.marks && { before: item.marks.after, after: item.marks.after },
      };
    };
    const items = [
      ...many(8, (index) => good(index)),
      tainted(8),
      failing(9, 'kernel_unknown', 'kernel new'),
      ...many(9, (index) => good(index, 'gpu')),
      failing(9, 'kernel_unknown', 'kernel new', 'gpu'),
    ];
    const answer = breakerAnswer(items);
    assert.deepEqual([answer?.tainted, answer?.waiting], [1, 1]);
    assert.deepEqual(
      answer?.held.map(({ group }) => group),
      ['workers'],
    );
  });
});
