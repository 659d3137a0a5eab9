import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { ConfigError, serverConfig } from '../../attest-server/config.ts';
import { version } from '../../attest-server/version.ts';

const faultsOf = (file: string | null, environment: Record<string, string> = {}): readonly string[] => {
  try {
    serverConfig(file, environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
};

describe('the configuration of the server', () => {
  it('has the ports and times of the contract where nothing is said', () => {
    const config = serverConfig(null, {});
    assert.deepEqual(
      [config.agentPort, config.apiPort, config.metricsPort, config.stateDir, config.policy],
      [8443, 8444, 9464, '/var/lib/assay', null],
    );
    assert.deepEqual(
      [config.challengeEvery, config.answerWithin, config.unknownAfter, config.summaryEvery],
      [60_000, 30_000, 180_000, 3_600_000],
    );
  });

  it('takes the environment over the file, and flags over both', () => {
    const file = 'apiPort: 1000\nhost: 127.0.0.1\nlogLevel: warn\n';
    const config = serverConfig(
      file,
      { ASSAY_API_PORT: '2000', ASSAY_LOG_LEVEL: 'debug' },
      { logLevel: 'error' },
    );
    assert.deepEqual([config.apiPort, config.host, config.logLevel], [2000, '127.0.0.1', 'error']);
    assert.equal(serverConfig(null, { ASSAY_SUMMARY_SECONDS: '60' }).summaryEvery, 60_000);
  });

  it('takes what lies in a part of the file from a variable too', () => {
    assert.equal(serverConfig('approvals: {separate: true}', {}).separateApprovals, true);
    assert.equal(serverConfig(null, { ASSAY_APPROVALS_SEPARATE: 'true' }).separateApprovals, true);
    assert.equal(serverConfig(null, {}).separateApprovals, false);
    assert.throws(
      () => serverConfig(null, { ASSAY_APPROVALS_SEPARATE: 'perhaps' }),
      /ASSAY_APPROVALS_SEPARATE/,
    );
  });

  it('takes a list of names from a file, and from a variable with commas', () => {
    assert.deepEqual(serverConfig('names: [a.example, 10.0.0.1]', {}).names, ['a.example', '10.0.0.1']);
    assert.deepEqual(serverConfig(null, { ASSAY_NAMES: 'a.example, b.example' }).names, [
      'a.example',
      'b.example',
    ]);
  });

  it('trusts the roots that come with the program, others beside or instead of them, or none', () => {
    const rootsOf = (file: string | null, text = '') =>
      serverConfig(file, { ASSAY_ENDORSEMENT_ROOTS: text }).endorsementRoots;
    assert.deepEqual(rootsOf(null), ['builtin']);
    assert.deepEqual(rootsOf('endorsementRoots: [builtin, /etc/roots]'), ['builtin', '/etc/roots']);
    assert.deepEqual(rootsOf(null, '/etc/roots'), ['/etc/roots']);
    assert.deepEqual(rootsOf('endorsementRoots: none'), []);
    for (const file of ['endorsementRoots: []', 'endorsementRoots: [none, builtin]'])
      assert.match(faultsOf(file).join(), /endorsementRoots \(ASSAY_ENDORSEMENT_ROOTS\)/);
  });

  it('asks the cloud by no program, or by one of an absolute path', () => {
    assert.equal(serverConfig(null, {}).cloudProgram, null);
    assert.equal(serverConfig(null, { ASSAY_CLOUD_PROGRAM: '/opt/ek-of' }).cloudProgram, '/opt/ek-of');
    assert.match(faultsOf('cloudProgram: ek-of').join(), /cloudProgram \(ASSAY_CLOUD_PROGRAM\)/);
  });

  it('tells every fault at once, with its key and its variable', () => {
    const faults = faultsOf('agentPort: 70000\nunknownThing: 1\nlogLevel: loud\n', { ASSAY_API_PORT: 'x' });
    for (const word of [
      'agentPort',
      'ASSAY_AGENT_PORT',
      'unknownThing',
      'logLevel',
      'apiPort',
      'ASSAY_API_PORT',
    ])
      assert.ok(
        faults.some((fault) => fault.includes(word)),
        `${word} in ${faults.join('; ')}`,
      );
    assert.equal(faults.length, 4);
  });

  it('refuses times in which no node could stay trusted', () => {
    assert.equal(faultsOf('challengeEverySeconds: 60\nunknownAfterSeconds: 30\n').length, 1);
  });

  it('refuses to keep the evidence of changes of state less long than that of all else', () => {
    assert.equal(faultsOf('evidenceDays: 60\ntransitionEvidenceDays: 30\n').length, 1);
    assert.deepEqual(faultsOf('evidenceDays: 0\n').length, 1);
    const { evidenceFor, transitionEvidenceFor } = serverConfig(null, {});
    assert.deepEqual([evidenceFor, transitionEvidenceFor], [30 * 86_400_000, 400 * 86_400_000]);
  });

  for (const text of ['[1, 2]', 'just words', 'a: [', '"x'])
    it(`refuses ${JSON.stringify(text)}, which is no list of keys and values`, () => {
      assert.equal(faultsOf(text).length, 1);
    });

  it('carries the version of package.json', () => {
    const manifest: unknown = JSON.parse(
      readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
    );
    assert.equal(Reflect.get(Object(manifest), 'version'), version);
  });
});
