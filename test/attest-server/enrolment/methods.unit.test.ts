import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { offeredMethods } from '../../../attest-server/enrolment/methods.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { plainEnrolments } from '../../../attest-server/policy/policy.ts';

const cluster = { providerIdOf: async () => null, nodeOfToken: async () => null, labelsOf: () => ({}) };
const policyOf = (method: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: a, nodes: ["*"], enrolment: [pin, ${method}]}\n`;

describe('the enrolment methods that a server offers', () => {
  const offered = [
    [null, null, []],
    [cluster, null, ['vendor']],
    [cluster, '/usr/local/bin/ek-of', ['cloud', 'vendor']],
  ] as const;
  for (const [inCluster, program, more] of offered)
    it(`are ${['the plain ones', ...more].join(', ')} ${inCluster === null ? 'outside' : 'in'} a cluster ${program === null ? 'without' : 'with'} a cloud program`, () => {
      const methods = offeredMethods(inCluster, program);
      assert.deepEqual(
        plainEnrolments.filter((method) => !methods.includes(method)),
        [],
      );
      for (const method of ['cloud', 'vendor'] as const) {
        const load = () => parsePolicy(policyOf(method), 'p.yaml', methods);
        if (more.some((each) => each === method))
          assert.deepEqual(load().groups[0]?.enrolment, ['pin', method]);
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
    assert.throws(() => offeredMethods(null, '/usr/local/bin/ek-of'), /ASSAY_CLOUD_PROGRAM/);
  });
});
