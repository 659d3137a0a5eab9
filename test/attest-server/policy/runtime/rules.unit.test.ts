import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { PolicyError } from '../../../../attest-server/policy/file/policy-error.ts';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { shownGroup } from '../../../../attest-server/policy/policy.ts';

const policy = (...lines: readonly string[]) =>
  [
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    '  - name: workers',
    '    nodes: ["*"]',
    ...lines.map((line) => `    ${line}`),
    '',
  ].join('\n');
const parsed = (...lines: readonly string[]) => checkPolicy(policy(...lines), 'p.yaml');
const faultsOf = (...lines: readonly string[]) => {
  try {
    parsed(...lines);
    return [];
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    return error.faults.map(({ field }) => field.replace('groups.0.', ''));
  }
};

describe('rules of what a node may run', () => {
  it('are by default any reference of the group, and all that a kernel can measure but keys', () => {
    const { runtime } = parsed('require: [runtime]').policy.groups[0]?.rules ?? assert.fail();
    const { references, paths, violations, covers, signedPolicy, isWritten } = runtime;
    assert.deepEqual(
      [references, paths, violations, signedPolicy, isWritten],
      [null, 'any', 'warn', 'report', false],
    );
    assert.deepEqual(covers, ['exec', 'mmap', 'modules', 'kexec', 'policy', 'criticalData', 'rootReads']);
  });

  it('are shown as a file says them, which says the same again', () => {
    const lines = [
      'runtime:',
      '  references: [debian-13]',
      '  exclude: ["/var/log/*"]',
      '  containers: {paths: ["/c/*"], references: [images]}',
      '  paths: exact',
      '  violations: fail',
      '  violationsExcept: ["/var/lib/*"]',
      `  deny: ["${'ab'.repeat(32)}", "/tmp/*"]`,
      '  policy: {covers: [exec, mmap], signed: required}',
    ];
    const [group] = parsed('require: [runtime]', ...lines).policy.groups;
    const { runtime } = JSON.parse(JSON.stringify(shownGroup(group ?? assert.fail())));
    assert.deepEqual(runtime, {
      references: ['debian-13'],
      exclude: ['/var/log/*'],
      containers: { paths: ['/c/*'], references: ['images'] },
      paths: 'exact',
      violations: 'fail',
      violationsExcept: ['/var/lib/*'],
      deny: ['ab'.repeat(32), '/tmp/*'],
      policy: { covers: ['exec', 'mmap'], signed: 'required' },
    });
    const again = parsed('require: [runtime]', `runtime: ${JSON.stringify(runtime)}`).policy.groups[0]?.rules
      .runtime;
    assert.deepEqual(again, group?.rules.runtime);
  });

  for (const [line, fields] of [
    ['runtime: {references: []}', ['runtime.references']],
    ['runtime: {exclude: [""]}', ['runtime.exclude.0']],
    ['runtime: {containers: {references: [a]}}', ['runtime.containers.paths']],
    ['runtime: {paths: some}', ['runtime.paths']],
    ['runtime: {violations: maybe}', ['runtime.violations']],
    ['runtime: {policy: {covers: []}}', ['runtime.policy.covers']],
    ['runtime: {policy: {covers: [everything]}}', ['runtime.policy.covers.0']],
    ['runtime: {files: [a]}', ['runtime.files']],
    [`runtime: {deny: ["${'a'.repeat(63)}"]}`, ['runtime.deny.0']],
    ['runtime: {deny: ["/a", "/a"], exclude: ["/b", "/b"]}', ['runtime.exclude.1', 'runtime.deny.1']],
    ['runtime: {containers: {paths: ["/a", "/a"]}}', ['runtime.containers.paths.1']],
    ['runtime: {signers: ["no key"]}', ['runtime.signers.0']],
  ] as const)
    it(`refuse ${line}`, () =>
      assert.deepEqual(faultsOf('require: [runtime]', line).toSorted(), fields.toSorted()));

  for (const [lines, doubts] of [
    [['runtime: {violations: fail}'], ['runtime']],
    [['require: [runtime]'], []],
    [['require: [runtime]', 'runtime: {exclude: ["/a/*", "/*"]}'], ['runtime.exclude.1']],
    [['require: [runtime]', 'runtime: {violationsExcept: ["*"]}'], ['runtime.violationsExcept.0']],
    [['require: [runtime]', 'runtime: {containers: {paths: ["*"]}}'], ['runtime.containers.paths.0']],
    [['require: [runtime]', 'runtime: {deny: ["*"]}'], ['runtime.deny.0']],
    [['require: [runtime]', 'runtime: {policy: {covers: [mmap]}}'], ['runtime.policy.covers']],
    [['require: [runtime]', 'severity: {ima_unknown_file: warn}'], ['severity.ima_unknown_file']],
  ] as const)
    it(`are doubted where they may not be meant: ${lines.join(', ')}`, () =>
      assert.deepEqual(
        parsed(...lines)
          .warnings.map(({ field }) => field.replace('groups.0.', ''))
          .filter((field) => /runtime|ima_/.test(field)),
        doubts,
      ));
});
