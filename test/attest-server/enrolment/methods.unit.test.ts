import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { enrolmentWays } from '../../../attest-server/enrolment/methods.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';

const cluster = { providerIdOf: async () => null, nodeOfToken: async () => null, labelsOf: () => ({}) };
const parts = { now: () => 0, fault: () => {} };
const policyOf = (way: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: a, nodes: ["*"], enrolment: [pin, ${way}]}\n`;

describe('the ways to enrol that a server offers', () => {
  const offered = [
    [null, null, []],
    [cluster, null, ['vendor']],
    [cluster, '/usr/local/bin/ek-of', ['cloud', 'vendor']],
  ] as const;
  for (const [inCluster, program, more] of offered)
    it(`are ${['the plain ones', ...more].join(', ')} ${inCluster === null ? 'outside' : 'in'} a cluster ${program === null ? 'without' : 'with'} a cloud program`, () => {
      const { ways, clusterPorts } = enrolmentWays(inCluster, program, parts);
      assert.equal(clusterPorts === undefined, inCluster === null);
      for (const way of ['cloud', 'vendor'] as const) {
        const load = () => parsePolicy(policyOf(way), 'p.yaml', ways);
        if (more.some((each) => each === way)) assert.deepEqual(load().groups[0]?.enrolment, ['pin', way]);
        else
          assert.throws(load, (error) => {
            assert.ok(error instanceof PolicyError);
            assert.deepEqual(
              error.faults.map(({ field }) => field),
              ['groups.0.enrolment.1'],
            );
            return true;
          });
      }
    });

  it('do not come from a cloud program that nobody would ask', () => {
    assert.throws(() => enrolmentWays(null, '/usr/local/bin/ek-of', parts), /ASSAY_CLOUD_PROGRAM/);
  });
});
