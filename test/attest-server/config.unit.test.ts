import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { serverConfig } from '../../attest-server/config.ts';
import { ConfigError, type ConfigFault } from '../../attest-server/settings/config-error.ts';
import { parseConfigFile } from '../../attest-server/settings/config-file.ts';
import { version } from '../../attest-server/version.ts';

const configOf = (text: string | null, environment: Record<string, string> = {}) =>
  serverConfig(text === null ? null : parseConfigFile(text, 'server.yaml'), environment);

const faultsOf = (text: string | null, environment: Record<string, string> = {}): readonly ConfigFault[] => {
  try {
    configOf(text, environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
};

const keysOf = (text: string | null, environment: Record<string, string> = {}) =>
  faultsOf(text, environment).map(({ key }) => key);

describe('the configuration of the server', () => {
  it('has the ports and times of the contract where nothing is said', () => {
    const config = serverConfig(null, {});
    assert.deepEqual(
      [config.agentPort, config.apiPort, config.metricsPort, config.stateDir, config.policy],
      [8443, 8444, 9464, '/var/lib/assay', 'observe'],
    );
    assert.deepEqual(
      [config.challengeEvery, config.answerWithin, config.unknownAfter, config.summaryEvery],
      [60_000, 30_000, 180_000, 3_600_000],
    );
  });

  it('takes the environment over the file, and flags over both', () => {
    const file = parseConfigFile('apiPort: 1000\nhost: 127.0.0.1\nlogLevel: warn\n', 'server.yaml');
    const config = serverConfig(
      file,
      { ASSAY_API_PORT: '2000', ASSAY_LOG_LEVEL: 'debug', ASSAY_HOST: '' },
      { logLevel: 'error' },
    );
    assert.deepEqual([config.apiPort, config.host, config.logLevel], [2000, '127.0.0.1', 'error']);
    assert.equal(serverConfig(null, { ASSAY_SUMMARY_SECONDS: '60' }).summaryEvery, 60_000);
  });

  it('takes what lies in a part of the file from a variable too', () => {
    assert.equal(configOf('approvals: {separate: true}').separateApprovals, true);
    assert.equal(serverConfig(null, { ASSAY_APPROVALS_SEPARATE: 'true' }).separateApprovals, true);
    assert.equal(serverConfig(null, {}).separateApprovals, false);
    assert.deepEqual(keysOf(null, { ASSAY_APPROVALS_SEPARATE: 'perhaps' }), ['approvals.separate']);
    assert.deepEqual(keysOf('approvals: true'), ['approvals']);
  });

  it('takes a list of names from a file, and from a variable with commas', () => {
    assert.deepEqual(configOf('names: [a.example, 10.0.0.1]').names, ['a.example', '10.0.0.1']);
    assert.deepEqual(serverConfig(null, { ASSAY_NAMES: 'a.example, b.example' }).names, [
      'a.example',
      'b.example',
    ]);
  });

  it('trusts the roots that come with the program, others beside or instead of them, or none', () => {
    const rootsOf = (file: string | null, text = '') =>
      configOf(file, { ASSAY_ENDORSEMENT_ROOTS: text }).endorsementRoots;
    assert.deepEqual(rootsOf(null), ['builtin']);
    assert.deepEqual(rootsOf('endorsementRoots: [builtin, /etc/roots]'), ['builtin', '/etc/roots']);
    assert.deepEqual(rootsOf(null, '/etc/roots'), ['/etc/roots']);
    assert.deepEqual(rootsOf('endorsementRoots: none'), []);
    for (const file of ['endorsementRoots: []', 'endorsementRoots: [none, builtin]'])
      assert.deepEqual(keysOf(file), ['endorsementRoots']);
  });

  it('asks the cloud by no program, or by one of an absolute path', () => {
    assert.equal(serverConfig(null, {}).cloudProgram, null);
    assert.equal(serverConfig(null, { ASSAY_CLOUD_PROGRAM: '/opt/ek-of' }).cloudProgram, '/opt/ek-of');
    assert.deepEqual(keysOf('cloudProgram: ek-of'), ['cloudProgram']);
  });

  it('is in no cluster, or in the one that is named, with what a pod knows of it', () => {
    assert.equal(serverConfig(null, {}).kubernetes, null);
    const variables = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
    assert.equal(serverConfig(null, variables).kubernetes, null);
    assert.deepEqual(serverConfig(null, { ...variables, ASSAY_KUBERNETES_API: 'pod' }).kubernetes, {
      api: 'pod',
      host: 'fd00::1',
      port: 6443,
      namespace: null,
      agentAccount: 'assay-agents/assay-agent',
      agentTokens: 'always',
      operators: { audience: 'assay' },
      authorityConfigMap: null,
    });
    const file = 'kubernetes: {api: /etc/kubeconfig, agentAccount: a/b, operatorAudience: api}';
    const { agentAccount, operators } = configOf(file).kubernetes ?? {};
    assert.deepEqual([agentAccount, operators], ['a/b', { audience: null }]);
    const nobody = configOf('kubernetes: {api: pod, operatorAudience: none}').kubernetes;
    assert.equal(nobody?.operators, null);
    const kept = 'kubernetes: {api: pod, authorityConfigMap: assay-agents/assay-authority}';
    assert.equal(configOf(kept).kubernetes?.authorityConfigMap, 'assay-agents/assay-authority');
    for (const alone of ['authorityConfigMap: a/b', 'api: pod, authorityConfigMap: b'])
      assert.deepEqual(keysOf(`kubernetes: {${alone}}`), ['kubernetes.authorityConfigMap']);
    const wrong = 'kubernetes: {agentAccount: a/b/c, agentTokens: sometimes, namespace: A, port: 0.5}';
    assert.deepEqual(keysOf(wrong).toSorted(), [
      'kubernetes.agentAccount',
      'kubernetes.agentTokens',
      'kubernetes.namespace',
      'kubernetes.port',
    ]);
  });

  it('reports every fault at once, with its key, its variable and its line', () => {
    const faults = faultsOf('agentPort: 70000\nunknownThing: 1\nlogLevel: loud\n', { ASSAY_API_PORT: 'x' });
    assert.deepEqual(
      faults.map(({ key, also, line }) => [key, also[0], line]),
      [
        ['unknownThing', undefined, 2],
        ['agentPort', 'ASSAY_AGENT_PORT', 1],
        ['apiPort', 'ASSAY_API_PORT', null],
        ['logLevel', 'ASSAY_LOG_LEVEL', 3],
      ],
    );
  });

  it('takes a webhook over HTTPS, or on this machine, with the secret that signs', () => {
    const keys = (url: string) => keysOf(`webhook:\n  url: "${url}"\n  secretFile: /s\n`);
    for (const url of [
      'https://receiver.example/assay?team=1',
      'http://localhost:9000/',
      'http://127.0.0.1/',
      'http://[::1]:9/',
    ])
      assert.deepEqual(keys(url), [], url);
    for (const url of [
      ...['http://receiver.example/', 'http://127.0.0.1.example/', 'http://localhost.example/'],
      ...[
        'ftp://receiver.example/',
        'https://user:secret@receiver.example/',
        'https://a.example/#b',
        'receiver',
      ],
    ])
      assert.deepEqual(keys(url), ['webhook.url'], url);
    assert.deepEqual(keysOf('webhook: {url: "https://receiver.example"}'), ['webhook.secretFile']);
    assert.deepEqual(keysOf('webhook: {secretFile: /s}'), ['webhook.url']);
    const environment = { ASSAY_WEBHOOK_URL: 'https://a.example/', ASSAY_WEBHOOK_SECRET_FILE: '/s' };
    assert.deepEqual(serverConfig(null, environment).webhook, {
      url: 'https://a.example/',
      secretFile: '/s',
      caFile: null,
    });
    assert.equal(serverConfig(null, {}).webhook, null);
  });

  it('refuses times in which no node could stay trusted', () => {
    assert.deepEqual(keysOf('challengeEverySeconds: 60\nunknownAfterSeconds: 30\n'), ['unknownAfterSeconds']);
  });

  it('refuses to keep the evidence of changes of state less long than that of all else', () => {
    assert.deepEqual(keysOf('evidenceDays: 60\ntransitionEvidenceDays: 30\n'), ['transitionEvidenceDays']);
    assert.deepEqual(keysOf('evidenceDays: 0\n'), ['evidenceDays']);
    const { evidenceFor, transitionEvidenceFor } = serverConfig(null, {});
    assert.deepEqual([evidenceFor, transitionEvidenceFor], [30 * 86_400_000, 400 * 86_400_000]);
  });

  for (const text of ['agentPort:', 'agentPort: true', 'agentPort: []', 'agentPort: 1.5', 'host: 7'])
    it(`refuses ${JSON.stringify(text)}, which is not what its key wants`, () => {
      assert.equal(faultsOf(text).length, 1);
    });

  it('carries the version of package.json', () => {
    const manifest: unknown = JSON.parse(
      readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
    );
    assert.equal(Reflect.get(Object(manifest), 'version'), version);
  });
});
