import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { InForce } from '../../../attest-server/in-force/in-force.ts';
import { askedPaths } from '../../../attest-server/policy/aspects.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { unmatched } from '../../../attest-server/policy/policy.ts';

function inForce(groups: readonly string[]): InForce {
  const lines = groups.map((group) => `  - ${group}\n`).join('');
  const policy = parsePolicy(`apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n${lines}`, 'policy.yaml');
  return new InForce(policy, [], keptContext);
}

describe('the policy of one moment', () => {
  it('asks a node of no group about the paths that no policy has to name', () => {
    const rules = inForce(['{name: workers, nodes: ["worker-*"]}']);
    const { group } = rules.groupOf('other', {});
    assert.equal(group, unmatched);
    assert.notDeepEqual(askedPaths(unmatched.rules), []);
    assert.deepEqual(rules.pathsOf(group), askedPaths(unmatched.rules));
  });

  it('asks a node about the paths of its own group', () => {
    const rules = inForce(['{name: workers, nodes: ["*"], disk: {paths: [/srv/data]}}']);
    assert.deepEqual(rules.pathsOf(rules.groupOf('worker-1', {}).group), ['/srv/data']);
  });

  it('knows of a node the labels by which some group chooses, and no others', () => {
    const all = { zone: 'a', secret: 'b' };
    const chosen = inForce(['{name: a, nodes: ["*"], labels: {zone: a}}', '{name: b, nodes: ["*"]}']);
    assert.deepEqual(chosen.groupOf('node-1', all).labels, { zone: 'a' });
    assert.equal(chosen.groupOf('node-1', all).group.name, 'a');
    assert.deepEqual(inForce(['{name: b, nodes: ["*"]}']).groupOf('node-1', all).labels, {});
  });
});
