import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../attest-server/policy/policy.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof, verdictOn } from './made-proof.ts';

const head = 'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n';

describe("a node's group", () => {
  const policy = parsePolicy(
    `${head}  - {name: first, nodes: ["worker-?", "db*-x"]}\n  - {name: second, nodes: ["worker-*"]}\n`,
    'p.yaml',
  );
  const table = [
    ['worker-1', 'first'],
    ['worker-12', 'second'],
    ['db-a-x', 'first'],
    ['db-a-xy', 'default'],
    ['my-worker-1', 'default'],
  ] as const;
  for (const [node, group] of table)
    it(`of ${node} is ${group}`, () => assert.equal(groupOf(policy, node).name, group));

  it('that no group of a written policy names is observed, and can never be trusted', () => {
    const { mode, require } = groupOf(policy, 'other');
    assert.deepEqual([mode, require], ['observe', ['identity', 'boot']]);
    const log = recordedLog('debian13-shim-grub');
    const own = capturedFrom(madeProof({ log }), { group: 'default' });
    for (const name of ['other', 'my-worker-1'])
      assert.equal(verdictOn(madeProof({ log }), policy, { name }, [own], 0).state, 'pending');
  });

  it('is the one whose labels it all has', () => {
    const labelled = parsePolicy(
      `${head}  - {name: gpu, nodes: ["*"], labels: {gpu: "true", zone: a}}\n  - {name: rest, nodes: ["*"]}\n`,
      'p.yaml',
    );
    assert.equal(groupOf(labelled, 'a', { gpu: 'true', zone: 'a', more: 'b' }).name, 'gpu');
    assert.equal(groupOf(labelled, 'a', { gpu: 'true' }).name, 'rest');
    assert.equal(groupOf(labelled, 'a').name, 'rest');
  });

  it('is found in no time, whatever the glob', () => {
    const glob = `${'*a'.repeat(120)}b`;
    const hostile = parsePolicy(`${head}  - {name: a, nodes: ["${glob}"]}\n`, 'p.yaml');
    assert.equal(groupOf(hostile, 'a'.repeat(253)).name, 'default');
  });
});
