import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { builtAspects, rulesOf } from '../../../../attest-server/policy/aspects.ts';
import { defaultBootRules } from '../../../../attest-server/policy/boot/rules.ts';
import { PolicyError, type PolicyFault } from '../../../../attest-server/policy/file/policy-error.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { observePolicy, strictPolicy } from '../../../../attest-server/policy/shipped/built-in.ts';

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
        labels: {},
        mode: 'observe',
        tpm: 'required',
        tpmClass: null,
        enrolment: ['pin', 'join-token', 'approval'],
        require: ['identity'],
        vouched: [],
        rules: { ...rulesOf({}), identity: null, boot: defaultBootRules },
        freshness: null,
        gate: { timeout: null, onTimeout: 'hold' },
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

  it('takes {boot: tpm}, which every aspect of this version is', () => {
    const group = '  - {name: a, nodes: ["*"], require: [identity, {boot: tpm}]}\n';
    assert.deepEqual(parsePolicy(`${head}${group}`, 'p.yaml').groups[0]?.require, ['identity', 'boot']);
  });

  it('gives the rules on boots their meaning, and what is left out its default', () => {
    const text = `${head}  - name: workers
    nodes: ["worker-*"]
    labels: {pool: workers}
    freshness: 120
    gate: {timeout: 900}
    boot:
      references: [workers-2026-11]
      secureBoot: required
      signers: ["*Debian Secure Boot*", "${'ab'.repeat(32)}"]
      dbx: {contains: ["${'cd'.repeat(32)}"], reference: workers-2026-11}
      sbat: {minimum: 2023012900}
      mok: forbid
      cmdline: {forbid: ["init=*", "ima=off"], require: [], allow: ["mitigations=*"]}
      scope: {firmware: node, initrd: unpinned}
      masks: [ostree, flatcar]
      explained: [2, 4, 7]
      byValue: [0, 0]
      tpmFirmware: {deny: ["0007005500000200"]}
      withoutLog: pcrs
      aggregate: required
`;
    const [group] = parsePolicy(text, 'p.yaml').groups;
    assert.deepEqual([group?.labels, group?.freshness], [{ pool: 'workers' }, 120]);
    assert.deepEqual(group?.gate, { timeout: 900, onTimeout: 'hold' });
    assert.deepEqual(group?.rules.boot, {
      references: ['workers-2026-11'],
      secureBoot: 'required',
      signers: ['*Debian Secure Boot*', 'ab'.repeat(32)],
      dbx: { contains: ['cd'.repeat(32)], reference: 'workers-2026-11' },
      sbatMinimum: 2023012900,
      mok: 'forbid',
      cmdline: {
        require: [],
        forbid: ['init=*', 'ima=off'],
        allow: ['mitigations=*'],
        exact: null,
        resume: null,
      },
      scope: { ...defaultBootRules.scope, firmware: 'node', initrd: 'unpinned' },
      masks: ['ostree', 'flatcar'],
      explained: [2, 4, 7],
      byValue: [0],
      tpmFirmwareDeny: ['0007005500000200'],
      withoutLog: 'pcrs',
      aggregate: 'required',
    });
  });

  const unsupported = 'not supported by this version';
  const refused = [['reaction: evict', 'reaction']] as const;
  for (const [line, field] of refused)
    it(`refuses ${field}, which this version does not judge: ${line}`, () => {
      const faults = faultsOf(`${head}  - name: workers\n    nodes: ["*"]\n    ${line}\n`);
      assert.deepEqual(
        faults.map(({ line, field, text }) => [line, field, text.slice(0, unsupported.length)]),
        [[6, `groups.0.${field}`, unsupported]],
      );
    });

  for (const [methods, field, lacking] of [
    ['[pin, cloud]', 'enrolment.1', 'cloudProgram'],
    ['[vendor, pin]', 'enrolment.0', 'endorsementRoots'],
  ] as const)
    it(`refuses ${field}, by which nobody can enrol where ${lacking} is not set`, () => {
      const faults = faultsOf(`${head}  - name: workers\n    nodes: ["*"]\n    enrolment: ${methods}\n`);
      assert.deepEqual(
        faults.map(({ line, field, text }) => [line, field, text.includes(`(${lacking})`)]),
        [[6, `groups.0.${field}`, true]],
      );
    });

  /** A group's last line, and the fields that it makes wrong. */
  const wrong = [
    ['nodes: ["a..b"]', ['nodes.0']],
    ['nodes: ["-worker*"]', ['nodes.0']],
    ['nodes: ["Worker-*"]', ['nodes.0']],
    ['labels: {gpu: true}', ['labels.gpu']],
    ['labels: {"a b": x}', ['labels.a b']],
    ['tpm: maybe', ['tpm']],
    ['tpmClass: [unknown]', ['tpmClass.0']],
    ['tpmClass: []', ['tpmClass']],
    ['tpmClass: discrete', ['tpmClass']],
    ['freshness: 0', ['freshness']],
    ['freshness: 90000', ['freshness']],
    ['gate: {onTimeout: open}', ['gate.timeout']],
    ['gate: {timeout: 0}', ['gate.timeout']],
    ['gate: {timeout: 60, onTimeout: kept}', ['gate.onTimeout']],
    ['require: [{boot: host}]', ['require.0']],
    ['boot: {secureBoot: optional}', ['boot.secureBoot']],
    ['boot: {secureboot: required}', ['boot.secureboot']],
    ['boot: {signers: []}', ['boot.signers']],
    [`boot: {signers: ["${'ab'.repeat(20)}"]}`, ['boot.signers.0']],
    [`boot: {signers: ["${'AB:'.repeat(31)}AB"]}`, ['boot.signers.0']],
    ['boot: {dbx: {}}', ['boot.dbx']],
    ['boot: {dbx: {contains: [abc]}}', ['boot.dbx.contains.0']],
    ['boot: {sbat: {minimum: 2023}}', ['boot.sbat.minimum']],
    ['boot: {mok: maybe}', ['boot.mok']],
    ['boot: {scope: {cmdline: node}}', ['boot.scope.cmdline']],
    ['boot: {scope: {kernel: rules}}', ['boot.scope.kernel']],
    ['boot: {scope: {disk: node}}', ['boot.scope.disk']],
    ['boot: {masks: [ostree, talos]}', ['boot.masks.1']],
    ['boot: {masks: []}', ['boot.masks']],
    ['boot: {explained: [10]}', ['boot.explained.0']],
    ['boot: {explained: [0, 24]}', ['boot.explained.1']],
    ['boot: {byValue: [4]}', ['boot.byValue.0']],
    ['boot: {byValue: []}', ['boot.byValue']],
    ['boot: {byValue: [0], explained: [4, 0]}', ['boot.explained.1']],
    ['boot: {tpmFirmware: {deny: [abc]}}', ['boot.tpmFirmware.deny.0']],
    ['boot: {cmdline: {forbid: ["quiet splash"]}}', ['boot.cmdline.forbid.0']],
    ['boot: {cmdline: {forbid: [""]}}', ['boot.cmdline.forbid.0']],
    ['boot: {cmdline: {forbids: []}}', ['boot.cmdline.forbids']],
    ['boot: {cmdline: {require: ["init=/x"], forbid: ["init=*"]}}', ['boot.cmdline.require.0']],
    ['boot: {cmdline: {allow: [quiet], forbid: [quiet]}}', ['boot.cmdline.allow.0']],
    ['boot: {cmdline: {exact: "ro quiet", require: [ro]}}', ['boot.cmdline.exact']],
    ['boot: {cmdline: {exact: "ro init=/bin/sh", forbid: ["init=*"]}}', ['boot.cmdline.exact']],
    ['boot: {scope: {cmdline: exact}, cmdline: {allow: [quiet]}}', ['boot.cmdline.allow']],
  ] as const;
  for (const [line, fields] of wrong)
    it(`refuses ${line}`, () => {
      const faults = faultsOf(
        `${head}  - name: workers\n    ${line}\n${line.startsWith('nodes') ? '' : '    nodes: ["*"]\n'}`,
      );
      assert.deepEqual(
        faults.map(({ line, field }) => `${line} ${field}`),
        fields.map((field) => `5 groups.0.${field}`),
      );
    });

  it('takes a blank between double quotes: there the kernel reads one argument', () => {
    const group = `  - {name: a, nodes: ["*"], boot: {cmdline: {forbid: ['dyndbg="file a +p"']}}}\n`;
    assert.deepEqual(places(`${head}${group}`), []);
  });

  const misspelt = [
    ['enrolments: [pin]', 'enrolment'],
    ['boot: {secureboot: required}', 'secureBoot'],
    ['mode: enforced', 'enforce'],
    ['severity: {kernel_unknow: warn}', 'kernel_unknown'],
    ['boot: {cmdline: {forbids: []}}', 'forbid'],
    ['require: [identity, boots]', 'boot'],
  ] as const;
  for (const [line, meant] of misspelt)
    it(`suggests ${meant} for ${line}`, () => {
      const [fault] = faultsOf(`${head}  - name: workers\n    nodes: ["*"]\n    ${line}\n`);
      assert.equal(fault?.text.slice(fault.text.indexOf(';')), `; did you mean ${meant}?`);
    });

  describe('for machines without a TPM', () => {
    const absent = '  - {name: gpu, nodes: ["gpu-*"], tpm: absent';
    it('says so', () => assert.equal(parsePolicy(`${head}${absent}}\n`, 'p.yaml').groups[0]?.tpm, 'absent'));
    it('takes mode: enforce as the wish for a taint', () =>
      assert.equal(parsePolicy(`${head}${absent}, mode: enforce}\n`, 'p.yaml').groups[0]?.mode, 'enforce'));
    const contradictions = [
      ['require: [identity, boot]', 'require'],
      ['boot: {secureBoot: required}', 'boot'],
      ['mode: label', 'mode'],
      ['tpmClass: [discrete]', 'tpmClass'],
    ] as const;
    for (const [field, place] of contradictions)
      it(`refuses ${field}`, () =>
        assert.deepEqual(places(`${head}${absent}, ${field}}\n`), [`4 groups.0.${place}`]));
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

  const endless = [
    ['words that nobody knows', 'require: [WORDS]'],
    ['rules that contradict each other', 'boot: {cmdline: {forbid: [WORDS], require: [WORDS]}}'],
  ] as const;
  for (const [what, fields] of endless)
    it(`refuses a file full of ${what} at once, and tells no end of faults`, () => {
      const words = Array.from({ length: 15_000 }, (_, index) => `bot${index}`).join();
      const faults = faultsOf(`${head}  - {name: a, nodes: ["*"], ${fields.replaceAll('WORDS', words)}}\n`);
      assert.ok(faults.length > 1 && faults.length <= 257, String(faults.length));
    });

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
});

describe('the built-in policies', () => {
  it('observe requires identity alone', () =>
    assert.deepEqual(
      [observePolicy.groups[0]?.mode, observePolicy.groups[0]?.require],
      ['observe', ['identity']],
    ));
  it('strict enforces every aspect but for what kernels do not measure by themselves', () =>
    assert.deepEqual(
      [strictPolicy.groups[0]?.mode, strictPolicy.groups[0]?.require],
      ['enforce', builtAspects.filter((name) => name !== 'runtime')],
    ));
});
