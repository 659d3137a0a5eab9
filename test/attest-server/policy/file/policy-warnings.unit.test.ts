import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';

const head = 'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n';
const rest = '  - {name: rest, nodes: ["*"]}\n';

const places = (text: string) =>
  checkPolicy(text, 'p.yaml').warnings.map(({ line, field }) => `${line} ${field}`);

describe('a policy that may not be what was meant', () => {
  /** A group's field, and what is warned of. */
  const table = [
    ['mode: observe', []],
    [
      'mode: enforce, require: [identity, boot], boot: {scope: {initrd: unpinned}}',
      ['4 groups.0.boot.scope.initrd'],
    ],
    ['boot: {byValue: [0]}', []],
    [
      'boot: {byValue: [0], scope: {firmware: unpinned}}',
      ['4 groups.0.boot.byValue', '4 groups.0.boot.scope.firmware'],
    ],
    ['boot: {scope: {kernel: unpinned}}', ['4 groups.0.boot.scope.kernel']],
    ['require: [identity, boot], boot: {signers: ["*Debian*"]}', ['4 groups.0.boot.signers']],
    ['require: [identity, boot], boot: {signers: ["*Debian*"], secureBoot: required}', []],
    ['boot: {secureBoot: required}', ['4 groups.0.boot.secureBoot']],
    ['boot: {cmdline: {allow: ["*"]}}', ['4 groups.0.boot.cmdline.allow']],
    ['boot: {withoutLog: pcrs}', ['4 groups.0.boot.withoutLog']],
    ['boot: {cmdline: {forbid: ["init=*"]}}', ['4 groups.0.boot.cmdline']],
    [
      'require: [boot], boot: {secureBoot: required}, severity: {secureboot_off: warn, kernel_unknown: info}',
      ['4 groups.0.severity.secureboot_off', '4 groups.0.severity.kernel_unknown'],
    ],
    [
      'require: [identity, boot], severity: {kexec_possible: info, no_reference: warn, kernel_unknown: fail}',
      [],
    ],
    ['severity: {kernel_unknown: info, rebooted: info}', []],
    [
      'require: [boot], severity: {kexec_detected: warn, facts_unavailable: info}',
      ['4 groups.0.severity.kexec_detected', '4 groups.0.severity.facts_unavailable'],
    ],
    ['severity: {kexec_detected: warn, facts_unavailable: info}', []],
    ['severity: {counter_rollback: warn}', ['4 groups.0.severity.counter_rollback']],
    [
      'require: [boot], boot: {cmdline: {resume: forbid}}, severity: {cmdline_policy: info}',
      ['4 groups.0.severity.cmdline_policy'],
    ],
    ['boot: {scope: {firmware: model}}', ['4 groups.0.boot.scope.firmware']],
    ['boot: {scope: {firmware: group}}', []],
    ['boot: {aggregate: required}', ['4 groups.0.boot.aggregate']],
    [
      'require: [boot], boot: {aggregate: required}, severity: {facts_unavailable: info}',
      ['4 groups.0.severity.facts_unavailable'],
    ],
    ['freshness: 60', ['4 groups.0.freshness']],
    ['freshness: 61', []],
    ['gate: {timeout: 600}', ['4 groups.0.gate']],
    ['mode: label, require: [identity, boot], gate: {timeout: 600}', []],
    ['tpm: absent', []],
    ['labels: {gpu: "true"}', ['4 groups.0.labels.gpu']],
    ['labels: {topology.kubernetes.io/zone: a}', ['4 groups.0.labels.topology.kubernetes.io/zone']],
    ['labels: {example.node-restriction.kubernetes.io/tier: a}', []],
    ['labels: {node-role.kubernetes.io/worker: ""}', []],
    ['labels: {node.kubernetes.io/pool: a}', ['4 groups.0.labels.node.kubernetes.io/pool']],
    ['labels: {node-restriction.kubernetes.io/tier: a}', []],
    ['labels: {example.com/kubernetes.io: a}', ['4 groups.0.labels.example.com/kubernetes.io']],
  ] as const;
  for (const [fields, warnings] of table)
    it(`${warnings.length === 0 ? 'passes without a word' : 'is warned of'}: ${fields}`, () =>
      assert.deepEqual(places(`${head}  - {name: a, nodes: ["a-*"], ${fields}}\n${rest}`), warnings));

  it('is told of each severity that empties an aspect which is required (row 142)', () => {
    const severity = 'severity: {kernel_unknown: warn, initrd_unknown: info, clone_suspected: info}';
    const fields = `require: [identity, boot], ${severity}`;
    assert.deepEqual(places(`${head}  - {name: a, nodes: ["a-*"], ${fields}}\n${rest}`).sort(), [
      '4 groups.0.severity.clone_suspected',
      '4 groups.0.severity.initrd_unknown',
      '4 groups.0.severity.kernel_unknown',
    ]);
  });

  it('is told of nodes that no group matches', () =>
    assert.deepEqual(places(`${head}  - {name: a, nodes: ["a-*"]}\n`), ['3 groups']));

  it('is told of a group that an earlier one hides', () => {
    const group = (name: string, nodes: string) => `  - {name: ${name}, nodes: [${nodes}]}\n`;
    const hidden = `${head}${group('a', '"a*", b')}${group('c', '"a-1", "a-?-x"')}${rest}`;
    assert.deepEqual(places(hidden), ['5 groups.1.nodes']);
    const reached = `${head}${group('a', '"a-?"')}${group('c', '"a-*", b')}${rest}`;
    assert.deepEqual(places(reached), []);
  });

  it('is not told of one that labels tell apart', () => {
    const group = `  - {name: a, nodes: ["*"], labels: {node-role.kubernetes.io/gpu: ""}}\n`;
    assert.deepEqual(places(`${head}${group}${rest}`), []);
  });
});
