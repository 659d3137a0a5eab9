import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { offeredMethods } from '../../../attest-server/enrolment/methods.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { plainEnrolments } from '../../../attest-server/policy/policy.ts';

const policyOf = (method: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: a, nodes: ["*"], enrolment: [pin, ${method}]}\n`;

describe('the enrolment methods that a server offers', () => {
  const offered = [
    [false, null, true, []],
    [true, null, true, ['vendor']],
    [true, null, false, []],
    [true, '/usr/local/bin/ek-of', true, ['cloud', 'vendor']],
  ] as const;
  for (const [isInCluster, cloudProgram, hasRoots, more] of offered)
    it(`are ${['the plain ones', ...more].join(', ')} ${isInCluster ? 'in' : 'outside'} a cluster ${cloudProgram === null ? 'without' : 'with'} a cloud program, where ${hasRoots ? 'somebody' : 'nobody'} endorses TPMs`, () => {
      const methods = offeredMethods({ isInCluster, cloudProgram, hasRoots });
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
    assert.throws(
      () => offeredMethods({ isInCluster: false, cloudProgram: '/usr/local/bin/ek-of', hasRoots: true }),
      /ASSAY_CLOUD_PROGRAM/,
    );
  });
});
