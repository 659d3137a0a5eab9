import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { SimulatedNodeView } from '../../../attest-server/api/policy-api.ts';
import { simulationText } from '../../../attest-server/cli/simulation.ts';
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
});
