import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { observePolicy, strictPolicy } from '../../../attest-server/policy/built-in.ts';
import { groupOf } from '../../../attest-server/policy/policy.ts';
import { PolicyError, type PolicyFault } from '../../../attest-server/policy/policy-error.ts';
import { parsePolicy } from '../../../attest-server/policy/policy-file.ts';
import { policyJsonSchema } from '../../../attest-server/policy/policy-schema.ts';

const head = 'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n';

function faultsOf(text: string): readonly PolicyFault[] {
  try {
    parsePolicy(text, 'p.yaml');
  } catch (error) {
    if (error instanceof PolicyError) return error.faults;
    throw error;
  }
  return [];
}

const places = (text: string) => faultsOf(text).map(({ line, field }) => `${line} ${field}`);

describe('a policy file', () => {
  it('has defaults that cannot turn a cluster red', () => {
    const policy = parsePolicy(`${head}  - name: workers\n    nodes: ["worker-*"]\n`, 'etc/site.yaml');
    assert.equal(policy.name, 'site');
    assert.deepEqual(policy.groups, [
      {
        name: 'workers',
        nodes: ['worker-*'],
        mode: 'observe',
        enrolment: ['pin', 'join-token', 'approval'],
        require: ['identity'],
        references: null,
        severity: {},
      },
    ]);
  });

  it('is known by its name and the digest of its text', () => {
    const { revision, text } = strictPolicy;
    assert.equal(revision, hash('sha256', text, 'hex').slice(0, 12));
  });

  it('tells every fault at once, each with its line', () => {
    const text = `${head}  - name: "no good"
    nodes: []
    mode: enforced
    require: [identity, bot]
  - nodes: ["*"]
    severity: {kernel_unknow: warn, cmdline_policy: loud}
    surprise: 1
`;
    assert.deepEqual(places(text), [
      '4 groups.0.name',
      '5 groups.0.nodes',
      '6 groups.0.mode',
      '7 groups.0.require.1',
      '8 groups.1.name',
      '9 groups.1.severity.kernel_unknow',
      '9 groups.1.severity.cmdline_policy',
      '10 groups.1.surprise',
    ]);
  });

  it('takes what says only what holds anyway', () => {
    const group = '  - {name: a, nodes: ["*"], tpm: required, labels: {}, reaction: none}\n';
    assert.deepEqual(places(`${head}${group}`), []);
  });

  const refused = [
    ['labels: {zone: a}', 'labels'],
    ['tpm: absent', 'tpm'],
    ['disk: {paths: [/var/lib/docker]}', 'disk'],
    ['firewall: {baseline: workers}', 'firewall'],
    ['host: {ssh: closed}', 'host'],
    ['keys: {format: never}', 'keys'],
    ['runtime: {references: [debian-13]}', 'runtime'],
    ['reaction: evict', 'reaction'],
    ['tpmClass: [discrete]', 'tpmClass'],
    ['boot: {secureBoot: required}', 'boot.secureBoot'],
    ['boot: {cmdline: {forbid: ["init=*"]}}', 'boot.cmdline'],
    ['boot: {scope: {kernel: group}}', 'boot.scope'],
    ['require: [identity, firewall]', 'require.1'],
    ['require: [identity, {disk: tpm}]', 'require.1'],
    ['enrolment: [pin, cloud]', 'enrolment.1'],
    ['enrolment: [vendor, pin]', 'enrolment.0'],
  ] as const;
  for (const [line, field] of refused)
    it(`refuses ${field}, which this version does not judge: ${line}`, () => {
      const faults = faultsOf(`${head}  - name: workers\n    nodes: ["*"]\n    ${line}\n`);
      assert.deepEqual(
        faults.map(({ line, field, text }) => [line, field, text]),
        [[6, `groups.0.${field}`, 'not supported by this version']],
      );
    });

  const empty = [
    ['groups: []', 3, 'groups'],
    ['groups:\n  - {name: a, nodes: ["*"], require: []}', 4, 'groups.0.require'],
    ['groups:\n  - {name: a, nodes: []}', 4, 'groups.0.nodes'],
    ['groups:\n  - {name: a, nodes: ["*"], enrolment: []}', 4, 'groups.0.enrolment'],
    ['groups:\n  - {name: a, nodes: ["*"], boot: {references: []}}', 4, 'groups.0.boot.references'],
  ] as const;
  for (const [text, line, field] of empty)
    it(`refuses empty ${field}: empty never means everything`, () => {
      assert.deepEqual(places(`apiVersion: assay.dev/v1\nkind: Policy\n${text}\n`), [`${line} ${field}`]);
    });

  for (const mode of ['label', 'enforce'] as const) {
    it(`refuses first-use in mode ${mode}: whoever comes first would be trusted`, () => {
      const group = `  - name: a\n    nodes: ["*"]\n    require: [identity, boot]\n    enrolment: [pin, first-use]\n`;
      assert.deepEqual(places(`${head}${group}    mode: ${mode}\n`), ['7 groups.0.enrolment.1']);
      assert.deepEqual(places(`${head}${group}    mode: observe\n`), []);
    });

    it(`refuses mode ${mode} without identity and boot`, () => {
      const group = `  - name: a\n    nodes: ["*"]\n    mode: ${mode}\n`;
      assert.deepEqual(places(`${head}${group}`), ['6 groups.0.mode']);
      assert.deepEqual(places(`${head}${group}    require: [boot]\n`), ['7 groups.0.require']);
      assert.deepEqual(places(`${head}${group}    require: [identity, boot]\n`), []);
    });
  }

  it('refuses two groups of one name', () =>
    assert.deepEqual(places(`${head}  - {name: a, nodes: [a]}\n  - {name: a, nodes: [b]}\n`), [
      '5 groups.1.name',
    ]));

  const notYaml = [
    ['', 1],
    ['groups: [', 1],
    [`${head}  - &a {name: a, nodes: [a]}\n  - *a\n`, 5],
    [`${head}  - {name: a, name: b, nodes: [a]}\n`, 4],
    ['--- 1\n--- 2\n', 2],
    ['['.repeat(200_000), 1],
    [' '.repeat(300_000), 1],
  ] as const;
  for (const [text, line] of notYaml)
    it(`refuses ${JSON.stringify(text.slice(0, 60))}`, () => assert.equal(faultsOf(text)[0]?.line, line));

  it('names file, line, field and cause in its message', () =>
    assert.throws(
      () => parsePolicy(`${head}  []\n`, 'etc/p.yaml'),
      /^PolicyError: etc\/p\.yaml:\d: groups: /,
    ));

  it('has a JSON schema', () => assert.ok('properties' in policyJsonSchema()));
});

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
    const { mode, require, boot } = groupOf(policy, 'other');
    assert.deepEqual([mode, require, boot.references], ['observe', ['identity', 'boot'], []]);
  });

  it('is found in no time, whatever the glob', () => {
    const glob = `${'*a'.repeat(120)}b`;
    const hostile = parsePolicy(`${head}  - {name: a, nodes: ["${glob}"]}\n`, 'p.yaml');
    assert.equal(groupOf(hostile, 'a'.repeat(253)).name, 'default');
  });
});

describe('the built-in policies', () => {
  it('observe requires identity alone', () =>
    assert.deepEqual(
      [observePolicy.groups[0]?.mode, observePolicy.groups[0]?.require],
      ['observe', ['identity']],
    ));
  it('strict enforces identity and boot', () =>
    assert.deepEqual(
      [strictPolicy.groups[0]?.mode, strictPolicy.groups[0]?.require],
      ['enforce', ['identity', 'boot']],
    ));
});
