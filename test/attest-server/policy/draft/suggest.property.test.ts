import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import type { Observation, ObservedBoot } from '../../../../attest-server/policy/draft/observation.ts';
import { type SuggestedFrom, suggestPolicy } from '../../../../attest-server/policy/draft/suggest.ts';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../../attest-server/policy/policy.ts';

const shimGrub: ObservedBoot = {
  firmware: 'EDK II 2025.02',
  secureBoot: true,
  loaders: [{ describes: 'shimx64.efi', digest: 'aa'.repeat(32) }],
  kernels: [{ describes: 'vmlinuz-6.12', digest: 'bb'.repeat(32) }],
  signers: [{ digest: 'cc'.repeat(32), subject: 'CN=Debian Secure Boot CA' }],
  sbatLevel: 2023012900,
};

function seen(node: string, boot: ObservedBoot | null = shimGrub): Observation {
  return {
    node,
    tpmClass: 'firmware',
    manufacturer: 'INTC',
    kernel: '6.12.1',
    boot,
    references: ['debian-13'],
    posture: {},
  };
}

function drafted(from: Partial<SuggestedFrom>) {
  const text = suggestPolicy({ observations: [], withoutTpm: [], unseen: [], ...from });
  const { policy, warnings } = checkPolicy(text, 'draft.yaml');
  return { text, policy, warnings };
}

describe('a drafted policy', () => {
  it('has a group for machines that start alike, and enforces nothing', () => {
    const off = { ...shimGrub, secureBoot: false };
    const { policy, warnings } = drafted({
      observations: [seen('db-1', off), ...['worker-1', 'worker-2', 'worker-10'].map((node) => seen(node))],
    });
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      policy.groups.map(({ name, nodes, mode, require, rules }) => [
        ...[name, nodes.join(), mode, require.join()],
        rules.boot.secureBoot,
      ]),
      [
        ['firmware-secureboot', 'worker-*', 'observe', 'identity,boot', 'required'],
        ['firmware-no-secureboot', 'db-1', 'observe', 'identity,boot', 'report'],
        ['others', '*', 'observe', 'identity', 'report'],
      ],
    );
  });

  it('names machines one by one where others have such a name', () => {
    const other = { ...shimGrub, kernels: [{ describes: 'vmlinuz-6.1', digest: 'dd'.repeat(32) }] };
    const { policy } = drafted({
      observations: [seen('worker-1'), seen('worker-2'), seen('worker-3', other)],
      unseen: ['node-9'],
    });
    assert.deepEqual(
      policy.groups.map(({ nodes }) => nodes),
      [['worker-1', 'worker-2'], ['worker-3'], ['*']],
    );
  });

  it('requires no boot of machines that sent no good log, and nothing of those without a TPM', () => {
    const { policy } = drafted({ observations: [seen('a', null)], withoutTpm: ['gpu-1', 'gpu-2'] });
    assert.deepEqual([groupOf(policy, 'a').require, groupOf(policy, 'a').tpm], [['identity'], 'required']);
    assert.equal(groupOf(policy, 'gpu-2').tpm, 'absent');
  });

  it('can be checked whatever the evidence says of itself', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom('x\n  - name: evil', 'a\u2028b', '\u0085mode: enforce', '# "'),
    );
    const image = fc.record({ describes: text, digest: fc.constant('aa'.repeat(32)) });
    const boot = fc.record({
      firmware: fc.option(text),
      secureBoot: fc.option(fc.boolean()),
      loaders: fc.array(image, { maxLength: 3 }),
      kernels: fc.array(image, { maxLength: 3 }),
      signers: fc.array(fc.record({ digest: fc.constant('cc'.repeat(32)), subject: fc.option(text) }), {
        maxLength: 2,
      }),
      sbatLevel: fc.constant(null),
    });
    const observed = (said: fc.Arbitrary<object>) =>
      fc.record({
        said: fc
          .oneof(said, fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 2 }))
          .map((one) => ({ ...one })),
        references: fc.constantFrom(['rules-1'], []),
      });
    const observation = fc.record({
      node: fc.oneof(fc.constantFrom('worker-1', 'worker-2', 'a.b', '9'), text),
      tpmClass: fc.constantFrom('discrete' as const, 'unknown' as const),
      manufacturer: fc.option(text),
      kernel: fc.option(text),
      boot: fc.option(boot),
      references: fc.constantFrom(['debian-13'], []),
      posture: fc.record(
        {
          disk: observed(
            fc.record({
              paths: fc.array(
                fc.record({ path: fc.oneof(fc.constant('/var/lib/docker'), text), encrypted: fc.boolean() }),
                { maxLength: 2 },
              ),
            }),
          ),
          firewall: observed(fc.constant({})),
          host: observed(
            fc.record({
              kernel: fc.oneof(fc.constant('6.12.1'), text),
              ssh: fc.constantFrom('closed', 'open', null),
              against: fc.array(text, { maxLength: 2 }),
            }),
          ),
        },
        { requiredKeys: [] },
      ),
    });
    fc.assert(
      fc.property(
        fc.array(observation, { maxLength: 6 }),
        fc.array(text),
        fc.array(text),
        (observations, a, b) => {
          const { policy } = drafted({ observations, withoutTpm: a, unseen: b });
          assert.ok(policy.groups.every(({ mode }) => mode === 'observe'));
          assert.ok(!policy.groups.some(({ name }) => name === 'evil'));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('stays within what one group may name', () => {
    const names = Array.from({ length: 700 }, (_, index) => `n${index}x`);
    const { policy } = drafted({ observations: names.map((node) => seen(node)) });
    for (const node of names) assert.notEqual(groupOf(policy, node).name, 'others');
  });
});
