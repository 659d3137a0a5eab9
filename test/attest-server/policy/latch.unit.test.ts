import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { isLatched, notLatchable, weakenedBy } from '../../../attest-server/policy/latch.ts';

const groupsOf = (...groups: readonly string[]) =>
  parsePolicy(
    `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n${groups.map((group) => `  - ${group}\n`).join('')}`,
    'policy.yaml',
  ).groups;
const both = 'require: [identity, boot]';
const workers = `{name: workers, nodes: ["worker-*"], mode: enforce, ${both}}`;
const rest = '{name: rest, nodes: ["*"]}';
const strictRest = `{name: rest, nodes: ["*"], mode: label, ${both}}`;
const places = (found: readonly { readonly path: readonly PropertyKey[] }[]) =>
  found.map(({ path }) => path.join('.'));

describe('the latch and a policy', () => {
  it('covers the groups that it names, and all where it names none', () => {
    assert.equal(isLatched(['workers'], 'workers'), true);
    assert.equal(isLatched(['workers'], 'rest'), false);
    assert.equal(isLatched([], 'tomorrow'), true);
  });

  for (const [what, latched, groups, faults] of [
    ['groups that are marked', [], [workers, strictRest], []],
    ['one group beside others that are observed', ['workers'], [workers, rest], []],
    ['a group in observe', ['rest'], [workers, rest], ['groups.1.mode']],
    ['all groups, one of which is in observe', [], [workers, rest], ['groups.1.mode']],
    ['all groups, while some nodes match none', [], [workers], ['groups']],
    ['a group that is not there', ['gpu'], [workers, rest], ['groups']],
    ['machines without a TPM', [], [`{name: gpu, nodes: ["gpu-*"], tpm: absent}`, strictRest], []],
  ] as const)
    it(`is ${faults.length === 0 ? 'possible' : 'refused'} for ${what}`, () => {
      assert.deepEqual(places(notLatchable(latched, groupsOf(...groups))), faults);
    });

  for (const [what, latched, after, faults] of [
    ['nothing changes', ['workers'], [workers, rest], []],
    ['more is required', ['workers'], [workers.replace('boot]', 'boot, host]'), rest], []],
    ['an uncovered group changes', ['workers'], [workers, strictRest], []],
    ['the mode shrinks', ['workers'], [workers.replace('enforce', 'label'), rest], ['groups.0.mode']],
    [
      'the group is only observed',
      ['workers'],
      [workers.replace('enforce', 'observe'), rest],
      ['groups.0.mode'],
    ],
    [
      'the group has no TPM any more',
      ['workers'],
      ['{name: workers, nodes: ["worker-*"], tpm: absent}', rest],
      ['groups.0.tpm'],
    ],
    ['the group is gone', ['workers'], [rest], ['groups.0.nodes']],
    [
      'the group has another name',
      ['workers'],
      [workers.replace('workers', 'others'), rest],
      ['groups.0.nodes', 'groups.1.nodes'],
    ],
    [
      'the group takes fewer nodes',
      ['workers'],
      [workers.replace('worker-*', 'worker-1*'), rest],
      ['groups.1.nodes'],
    ],
    ['the group takes more nodes', ['workers'], [workers.replace('worker-*', 'w*'), rest], []],
    ['nodes of it match no group', ['workers'], [workers.replace('worker-*', 'worker-1')], ['groups']],
    [
      'the group wants a label',
      ['workers'],
      [workers.replace('mode', 'labels: {pool: a}, mode'), rest],
      ['groups.1.nodes'],
    ],
    [
      'an uncovered group stands above it',
      ['workers'],
      [`{name: new, nodes: ["*-7"]}`, workers, rest],
      ['groups.0.nodes'],
    ],
    [
      'a group for other names stands above it',
      ['workers'],
      [`{name: gpu, nodes: ["gpu-*"]}`, workers, rest],
      [],
    ],
    ['a group stands below it', ['workers'], [workers, `{name: new, nodes: ["worker-7"]}`, rest], []],
  ] as const)
    it(`${faults.length === 0 ? 'lets a policy come' : 'refuses a policy'} by which ${what}`, () => {
      assert.deepEqual(places(weakenedBy(latched, groupsOf(workers, rest), groupsOf(...after))), faults);
    });

  it('covers groups that come later where it covers all', () => {
    const before = groupsOf(workers, strictRest);
    const later = `{name: later, nodes: ["later-*"], mode: enforce, ${both}}`;
    assert.deepEqual(weakenedBy([], before, groupsOf(later, workers, strictRest)), []);
    const observed = '{name: later, nodes: ["x"]}';
    assert.deepEqual(places(weakenedBy([], before, groupsOf(observed, workers, strictRest))), [
      'groups.0.nodes',
      'groups.0.mode',
    ]);
  });

  it('takes nodes from a covered group into another covered one only if that asks for as much', () => {
    const before = groupsOf(workers, strictRest);
    const more = `{name: gold, nodes: ["worker-9"], mode: enforce, require: [identity, boot, disk]}`;
    assert.deepEqual(weakenedBy([], before, groupsOf(more, workers, strictRest)), []);
    const less = `{name: tin, nodes: ["worker-9"], mode: label, ${both}}`;
    assert.deepEqual(places(weakenedBy([], before, groupsOf(less, workers, strictRest))), ['groups.0.nodes']);
  });

  it('keeps a group above a covered one that stood there before, and refuses it with more nodes', () => {
    const gpu = '{name: gpu, nodes: ["worker-gpu-*"]}';
    const before = groupsOf(gpu, workers, rest);
    assert.deepEqual(weakenedBy(['workers'], before, groupsOf(gpu, workers, rest)), []);
    const wider = gpu.replace('worker-gpu-*', 'worker-*');
    assert.deepEqual(places(weakenedBy(['workers'], before, groupsOf(wider, workers, rest))), [
      'groups.0.nodes',
    ]);
  });

  it('keeps the demand that the TPM vouches for an aspect', () => {
    const signed = workers.replace(both, 'require: [identity, {boot: tpm}]');
    assert.deepEqual(places(weakenedBy(['workers'], groupsOf(signed, rest), groupsOf(workers, rest))), [
      'groups.0.require',
    ]);
  });

  it('asks for a mode that marks where nothing is known of the policy before', () => {
    assert.deepEqual(weakenedBy(['workers'], null, groupsOf(workers, rest)), []);
    assert.deepEqual(places(weakenedBy([], null, groupsOf(workers, rest))), ['groups.1.mode']);
  });
});
