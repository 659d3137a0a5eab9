import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { SimulatedNodeView } from '../../../attest-server/api/policy-api.ts';
import { nextBootText, simulationText } from '../../../attest-server/cli/simulation.ts';
import { reasonOf } from '../http/api-fixture.ts';

const bare = { taints: [], label: false };
const tainted = { taints: ['assay.dev/untrusted=kernel_unknown'], label: false };
const untrusted = (
  node: string,
  mode: 'observe' | 'enforce',
  marks: SimulatedNodeView['marks'],
): SimulatedNodeView => {
  const verdict = { state: 'untrusted' as const, group: 'default', reasons: [reasonOf('kernel_unknown')] };
  return {
    node,
    before: { ...verdict, mode: 'observe' },
    after: { ...verdict, mode },
    changed: false,
    note: null,
    marks,
  };
};

describe('the text of a simulation', () => {
  it('names a node of which the mode alone changes the marks, and not one whose marks stay', () => {
    const text = simulationText(
      [
        untrusted('node-1', 'enforce', { before: bare, after: tainted }),
        untrusted('node-2', 'observe', { before: bare, after: bare }),
        untrusted('node-3', 'observe', null),
      ],
      false,
    );
    assert.match(text, /^node-1 .*\+assay\.dev\/untrusted=kernel_unknown/m);
    assert.doesNotMatch(text, /^node-[23]/m);
    assert.match(text, /^0 of 3 nodes would change; of 1 more the marks alone$/m);
  });

  it('says whom it would lock out at the next boot, and nothing of those that it does not change', () => {
    const foretold = (node: string, was: 'would' | 'would_not', then: 'would' | 'would_not' | 'unknown') => {
      const { before, after, ...its } = untrusted(node, 'enforce', null);
      assert(before !== null && after !== null);
      return { ...its, before: { ...before, nextBoot: was }, after: { ...after, nextBoot: then } };
    };
    const items = [
      foretold('node-1', 'would', 'would_not'),
      foretold('node-2', 'would', 'would_not'),
      foretold('node-3', 'would', 'would_not'),
      foretold('node-4', 'would_not', 'would_not'),
      foretold('node-5', 'would', 'unknown'),
      untrusted('node-6', 'enforce', null),
    ];
    assert.equal(
      nextBootText(items, new Set(['node-1', 'node-2', 'node-4'])),
      '2 nodes would get no key at their next boot: node-1 and node-2\n1 node would not be trusted after its next boot: node-3\n',
    );
    assert.equal(nextBootText(items.slice(3), new Set()), '');
  });
});
