import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { PolicyError } from '../../../../attest-server/policy/file/policy-error.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { warningsOf } from '../../../../attest-server/policy/file/policy-warnings.ts';
import { hostRules } from '../../../../attest-server/policy/host/rules.ts';
import { taintLetters, taintsOf } from '../../../../attest-server/policy/host/taints.ts';
import { sysctlNames } from '../../../../attest-server/wire/sysctls.ts';
import { policyOf } from '../made-proof.ts';

function faultsOf(line: string): readonly string[] {
  try {
    policyOf('require: [identity, host]', line);
    return [];
  } catch (error) {
    assert(error instanceof PolicyError);
    return error.faults.map(({ field }) => field);
  }
}

describe('rules on a host', () => {
  it('close SSH and forbid some marks where nothing is written', () => {
    assert.deepEqual(hostRules(undefined), {
      isWritten: false,
      minimumKernel: null,
      forbiddenTaints: ['F', 'R', 'A'],
      suspectTaints: ['E'],
      ssh: 'closed',
      sshPorts: [],
      lockdown: null,
      sysctls: [],
    });
  });

  const wrong: readonly (readonly [string, readonly string[]])[] = [
    ['host: {kernel: {minimum: 6.12}}', ['groups.0.host.kernel.minimum']],
    ['host: {kernel: {minimum: "six"}}', ['groups.0.host.kernel.minimum']],
    ['host: {kernel: {minimum: "6.12-amd64"}}', ['groups.0.host.kernel.minimum']],
    ['host: {kernel: {}}', ['groups.0.host.kernel.minimum']],
    ['host: {taints: {forbid: [Q]}}', ['groups.0.host.taints.forbid.0']],
    ['host: {ssh: open}', ['groups.0.host.ssh']],
    ['host: {sshPorts: [0, 70000]}', ['groups.0.host.sshPorts.0', 'groups.0.host.sshPorts.1']],
    ['host: {lockdown: full}', ['groups.0.host.lockdown']],
    ['host: {sysctls: {kernel.sysrq: []}}', ['groups.0.host.sysctls.kernel.sysrq']],
    ['host: {sysctls: {kernel.sysrq: yes}}', ['groups.0.host.sysctls.kernel.sysrq']],
    ['host: {sysctls: {kernel.hostname: 1}}', ['groups.0.host.sysctls.kernel.hostname']],
    [
      'host: {sysctls: {kernel.kexec_load_disabled: 1}}',
      ['groups.0.host.sysctls.kernel.kexec_load_disabled'],
    ],
    ['host: {firewall: on}', ['groups.0.host.firewall']],
  ];
  for (const [line, fields] of wrong)
    it(`are refused where they say ${line}`, () => assert.deepEqual(faultsOf(line), fields));

  it('name the sysctls that are collected, where one is not', () => {
    const text = ['apiVersion: assay.dev/v1', 'kind: Policy', 'groups:', '  - name: all', '    nodes: ["*"]'];
    const file = (rule: string) => [...text, `    host: {sysctls: {${rule}}}`].join('\n');
    assert.throws(
      () => parsePolicy(file('kernel.hostname: 1'), 'made.yaml'),
      (error) => error instanceof PolicyError && sysctlNames.every((name) => error.message.includes(name)),
    );
    for (const name of sysctlNames) parsePolicy(file(`${name}: "-1"`), 'made.yaml');
  });

  it('are doubted where nothing requires the aspect, or it refuses nothing', () => {
    const doubts = (...lines: readonly string[]) =>
      warningsOf(policyOf(...lines)).map(({ path }) => path.slice(2).join('.'));
    assert.deepEqual(doubts('host: {ssh: closed}'), ['host']);
    assert.deepEqual(doubts('require: [identity, host]', 'host: {ssh: closed}'), []);
    assert.deepEqual(
      doubts('require: [identity, host]', 'severity: {ssh_reachable: info, lockdown_off: info}'),
      ['severity.ssh_reachable'],
    );
  });

  it('know each bit of a mask by its letter, and others by their number', () => {
    assert.deepEqual(taintsOf(0), []);
    assert.deepEqual(taintsOf(2 ** taintLetters.length - 1), taintLetters);
    assert.deepEqual(taintsOf(2 ** 33 + 2 ** 12), ['O', 'bit 33']);
  });
});
