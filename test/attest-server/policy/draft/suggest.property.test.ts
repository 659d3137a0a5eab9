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
  initrds: [{ describes: 'initrd.img-6.12', digest: 'ee'.repeat(32) }],
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
    noBoot: boot === null ? 'no boot log came' : null,
    references: ['debian-13'],
    knownTo: [],
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

  it('says what is to be captured first where no reference is like a boot, and which nodes have initrds of their own', () => {
    const fresh = { ...seen('worker-2'), references: [] };
    const own = { ...shimGrub, initrds: [{ describes: 'initrd', digest: 'ff'.repeat(32) }] };
    const { text } = drafted({ observations: [{ ...seen('worker-1', own), references: [] }, fresh] });
    const commands = [...text.matchAll(/^ {2}# {3}(assay .*)$/gm)].map(([, command]) => command);
    assert.deepEqual(commands, [
      'assay reference capture worker-1 worker-2 --name firmware-secureboot --group firmware-secureboot',
    ]);
    assert.match(text, /^ {2}# not all have the same initrd: /m);
    const known = drafted({ observations: [seen('worker-1', own), seen('worker-2', own)] }).text;
    assert.doesNotMatch(known, /reference capture worker|same initrd/);
    const captured = { ...fresh, knownTo: ['firmware-secureboot'] };
    assert.doesNotMatch(drafted({ observations: [captured] }).text, /reference capture worker|references:/);
  });

  it('captures no more nodes at a time than one command takes', () => {
    const names = Array.from({ length: 70 }, (_, index) => `n${index}`);
    const { text } = drafted({ observations: names.map((node) => ({ ...seen(node), references: [] })) });
    const counts = [
      ...text.matchAll(/^ {2}# {3}assay reference capture (.*) --name (\S+) --group firmware-secureboot$/gm),
    ].map(([, nodes, name]) => [nodes?.split(' ').length, name]);
    assert.deepEqual(counts, [
      [64, 'firmware-secureboot'],
      [6, 'firmware-secureboot-part-2'],
    ]);
  });

  it('names whom it leaves out, and whose word it is that they have no TPM', () => {
    const { text, policy } = drafted({
      observations: [seen('a', null), { ...seen('b', null), noBoot: 'no kernel was measured' }],
      withoutTpm: ['gpu-1'],
      claimWithoutTpm: ['gpu-2', 'a', '\u001b[31m'],
    });
    assert.match(text, /^# The boots of 2 nodes can be compared with nothing, .*: a, b$/m);
    assert.match(text, /^ {2}# it is their own word of: gpu-2$/m);
    assert.deepEqual(
      policy.groups.map(({ name, tpm }) => [name, tpm]),
      [
        ['firmware-no-log', 'required'],
        ['firmware-no-model', 'required'],
        ['without-tpm', 'absent'],
        ['others', 'required'],
      ],
    );
  });

  it('lets off by name who says that it has no TPM, and nobody who is enrolled with one (row 85)', () => {
    const { policy } = drafted({
      observations: [seen('a')],
      unseen: ['worker-3'],
      withoutTpm: ['gpu-1', 'gpu-2'],
      claimWithoutTpm: ['worker-3', 'cpu-1', 'cpu-2'],
    });
    assert.deepEqual(
      ['gpu-1', 'gpu-2', 'gpu-3', 'cpu-1', 'cpu-2', 'cpu-3', 'worker-3'].map(
        (node) => groupOf(policy, node).tpm,
      ),
      ['absent', 'absent', 'required', 'absent', 'absent', 'required', 'required'],
    );
  });

  it('tells each reason for which boots of a group are no model', () => {
    const left = (node: string, why: string) => ({ ...seen(node, null), noBoot: why });
    const { text } = drafted({
      observations: [
        left('a', 'the boot of a cannot become a reference: no kernel'),
        left('b', 'the boot of b cannot become a reference: no kernel'),
        left('c', 'initrd_unmeasured: Event 9'),
      ],
    });
    assert.match(text, /^ {2}# {5}the boot cannot become a reference: no kernel: a, b$/m);
    assert.match(text, /^ {2}# {5}initrd_unmeasured: Event 9: c$/m);
  });

  it('cuts no list of references off, and hides no machine of which it has no group', () => {
    const names = Array.from({ length: 300 }, (_, index) => `n${index}x`);
    const own = drafted({
      observations: names.map((node) => ({ ...seen(node), references: [`ref-${node}`] })),
    });
    assert.ok(own.policy.groups.every(({ rules }) => rules.boot.references === null));
    assert.match(own.text, /^ {2}# 300 references are like these boots, more than the group can name/m);
    assert.match(own.text, /assay reference capture n0x .* --group firmware-secureboot$/m);
    const unlike = drafted({
      observations: names.map((node) =>
        seen(node, { ...shimGrub, kernels: [{ describes: node, digest: node.padEnd(64, '0') }] }),
      ),
    });
    assert.equal(unlike.policy.groups.length, 256 + 1);
    assert.match(unlike.text, /^# More than 256 kinds of machines: 44 nodes got no group, .*: n\d+x, /m);
  });

  it('lets machines that nobody named enrol as they do now', () => {
    const enrolment = ['pin', 'first-use'];
    const { policy } = drafted({ observations: [seen('a')], enrolment });
    assert.deepEqual(groupOf(policy, 'new-1').enrolment, enrolment);
    assert.deepEqual(groupOf(policy, 'a').enrolment, ['pin', 'join-token', 'approval']);
  });

  it('can be checked whatever the evidence says of itself', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom(
        'x\n  - name: evil',
        'a\u2028b',
        '\u0085mode: enforce',
        '# "',
        '/a\u202eb\u001b[2J',
        '/b\u2066\u009b',
      ),
    );
    const image = fc.record({ describes: text, digest: fc.constant('aa'.repeat(32)) });
    const boot = fc.record({
      firmware: fc.option(text),
      secureBoot: fc.option(fc.boolean()),
      loaders: fc.array(image, { maxLength: 3 }),
      kernels: fc.array(image, { maxLength: 3 }),
      initrds: fc.array(image, { maxLength: 3 }),
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
      noBoot: fc.option(text),
      references: fc.constantFrom(['debian-13'], []),
      knownTo: fc.array(text, { maxLength: 2 }),
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
        fc.array(text),
        (observations, a, b, c) => {
          const { policy, text } = drafted({ observations, withoutTpm: a, unseen: b, claimWithoutTpm: c });
          // It is printed to a terminal, in the order in which it is read.
          assert.doesNotMatch(text, /(?!\n)[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/u);
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
