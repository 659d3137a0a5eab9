import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'mocha';
import { parse } from 'yaml';
import { openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import {
  at,
  isList,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textsAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { chartFolder, helm, needsTools, refusalOf, renderChart, renderText } from './kubernetes-tools.ts';
import { contradictionsOf, mergedValues, renderEach } from './many-values.ts';
import { placesOf, replaced } from './schema/spoilt.ts';

const valuesFolder = join(import.meta.dirname, 'values');
const schema = objectIn(JSON.parse(readFileSync(join(chartFolder, 'values.schema.json'), 'utf8')));
const defaults = objectIn(parse(readFileSync(join(chartFolder, 'values.yaml'), 'utf8')));
const everything = objectIn(parse(readFileSync(join(valuesFolder, 'everything.yaml'), 'utf8')));
/** Every key, and an item in every list. */
const full = objectIn(mergedValues(defaults, everything));

/** Objects of values whose members are Kubernetes' or the reader's own: their names are free. */
const free = [
  ...['agent.affinity', 'agent.nodeSelector', 'agent.podAnnotations', 'agent.podLabels', 'commonLabels'],
  ...['server.affinity', 'server.cloud.env[0]', 'server.cloud.envFrom[0]', 'server.nodeSelector'],
  ...['server.networkPolicy.api[0].namespaceSelector', 'server.networkPolicy.metrics[0].namespaceSelector'],
  ...[
    'server.persistence.annotations',
    'server.podAnnotations',
    'server.podLabels',
    'server.service.annotations',
  ],
  ...['agent.extraVolumes[0]', 'server.extraEnv[0].valueFrom', 'server.extraVolumes[0]'],
  ...['server.networkPolicy.egress[0].to[0].ipBlock'],
  ...['server.serviceAccountAnnotations', 'server.topologySpreadConstraints[0]'],
  ...['monitoring.labels', 'monitoring.dashboard.labels', 'monitoring.dashboard.annotations'],
];

describe('the chart', function () {
  this.timeout(60_000);

  it('is linted without a remark, with each file of values', async function () {
    needsTools(this);
    const files = globSync('*.yaml', { cwd: valuesFolder }).map((file) => [
      '--values',
      join(valuesFolder, file),
    ]);
    await Promise.all(
      [[], ...files].map((args) => helm('lint', '--strict', '--quiet', chartFolder, ...args)),
    );
  });

  it('is rendered within two seconds, everything too', async function () {
    needsTools(this);
    const begin = performance.now();
    await renderText({ files: [join(valuesFolder, 'everything.yaml')] });
    assert.ok(performance.now() - begin <= 2000, `${performance.now() - begin} ms`);
  });

  it('is for Kubernetes since 1.30, and says so where it is older', async function () {
    needsTools(this);
    await renderText({ args: ['--kube-version', '1.30.0'] });
    // As clouds call theirs.
    await renderText({ args: ['--kube-version', '1.33.4-eks-a1b2c3d'] });
    assert.match(await refusalOf({ args: ['--kube-version', '1.29.14'] }), /kubeVersion: >=1\.30\.0-0/);
  });

  it('has a default for each key of its schema, and none beside them', () => {
    assert.deepEqual(keysOf(schema), keysOfValues(defaults));
  });

  it('has nothing that null would switch off unseen: each key is required, so that Helm cannot take its default away', async function () {
    const optional = (of: JsonObject, name: string): readonly string[] => {
      const properties = at(of, 'properties');
      if (!isObject(properties) || handedOn.test(name)) return [];
      const required = textsAt(of, 'required');
      return Object.entries(properties)
        .filter(([key]) => !ofUmbrellas.has(name === '' ? key : `${name}.${key}`))
        .flatMap(([key, member]) => {
          const inner = name === '' ? key : `${name}.${key}`;
          const own = required.includes(key) ? [] : [inner];
          return [...own, ...(isObject(member) ? optional(member, inner) : [])];
        });
    };
    assert.deepEqual(optional(schema, ''), []);
    needsTools(this);
    const values = { server: { persistence: { enabled: null }, networkPolicy: { enabled: null } } };
    const said = await refusalOf({ values });
    for (const place of ['persistence', 'networkPolicy'])
      assert.ok(said.includes(`at '/server/${place}': missing property 'enabled'`), said);
  });

  it('is tried with another value for each key', () => {
    const files = globSync('*.yaml', { cwd: valuesFolder }).map((file) =>
      objectIn(parse(readFileSync(join(valuesFolder, file), 'utf8'))),
    );
    const untried = keysOfValues(defaults).filter(
      (key) => !files.some((values) => at(values, ...key.split('.')) !== undefined),
    );
    assert.deepEqual(untried, []);
  });
});

describe('values that are wrong', function () {
  this.timeout(60_000);

  it('are each named where a key is misspelt, at every level', async function () {
    needsTools(this);
    // Beside each key is the same with its last letter twice.
    const wrong: string[] = [];
    const doubled = (value: Json, path: string): Json => {
      if (isList(value)) return value.map((item, index) => doubled(item, `${path}[${index}]`));
      if (!isObject(value) || isBelow(path, free)) return value;
      return Object.fromEntries(
        Object.entries(value).flatMap(([key, member]) => {
          const inner = path === '' ? key : `${path}.${key}`;
          wrong.push(`${inner}${key.at(-1)}`);
          return [
            [key, doubled(member, inner)],
            [`${key}${key.at(-1)}`, member],
          ];
        }),
      );
    };
    const said = await refusalOf({ values: objectIn(doubled(full, '')) });
    assert.ok(wrong.length > 100, `${wrong.length}`);
    assert.deepEqual(
      wrong.filter((path) => !namesUnknown(said, path)),
      [],
    );
  });

  it('are each named where one is of another type, at every level', async function () {
    needsTools(this);
    const places = placesOf(full).filter(({ path }) => !isBelow(path, free) || free.includes(path));
    const deepest = Math.max(...places.map(({ keys }) => keys.length));
    const unnamed: string[] = [];
    for (let depth = 1; depth <= deepest; depth += 1) {
      const own = places.filter(({ keys }) => keys.length === depth);
      let values = full;
      for (const { keys, value } of own)
        values = replaced(values, keys, isObject(value) ? ['wrong'] : { wrong: 'wrong' });
      const said = await refusalOf({ values });
      unnamed.push(
        ...own.map(({ keys }) => `'/${keys.join('/')}'`).filter((pointer) => !said.includes(`at ${pointer}`)),
      );
    }
    assert.deepEqual(unnamed, []);
  });
});

describe('values that would be something else where they are used', function () {
  this.timeout(60_000);

  /** Each is text, and YAML reads something else in it. */
  const asText = ['1', 'true', 'null', 'yes', '0x1f', '1e3', '0777', '2001-01-01'];
  it('stay the text that they are: names of namespaces, classes, volumes, Secrets and tags', async function () {
    needsTools(this);
    const named = (text: string) => ({
      namespaces: { server: text, agents: `${text}-agents` },
      image: { tag: text, pullSecrets: [{ name: text }] },
      commonLabels: { team: text },
      server: {
        settings: { kubernetes: { operatorAudience: text } },
        endorsementRoots: {
          volumes: [
            { name: text, configMap: text },
            { name: 'b', secret: text },
          ],
        },
        declared: { configMaps: [text], keys: [`RW${'a'.repeat(54)} merge`] },
        webhook: {
          url: 'https://a.example.org',
          secret: { name: text, key: text },
          ca: { configMap: text, key: text },
        },
        persistence: { storageClass: text },
        priorityClassName: text,
      },
      agent: { priorityClassName: text },
    });
    const kinds = (rendered: readonly JsonObject[]) =>
      JSON.stringify(rendered).replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
    // What nobody takes for anything else, and then the text in its place.
    const [wanted, ...all] = (await renderEach(['word', ...asText].map(named))).map(kinds);
    for (const [index, text] of asText.entries()) assert.equal(all[index], wanted, text);
  });

  it('stay one value where they hold what begins another in YAML', async function () {
    needsTools(this);
    const values = {
      server: { settings: { kubernetes: { operatorAudience: 'a,path:b}]#{{.Values}}"\'' } } },
    };
    const pod = (await renderChart({ values })).find(
      (one) => at(one, 'metadata', 'name') === 'assay-test' && at(one, 'kind') === 'Pod',
    );
    const [source] = listAt(pod, 'spec', 'volumes').flatMap((one) => listAt(one, 'projected', 'sources'));
    assert.deepEqual(at(source, 'serviceAccountToken'), {
      path: 'token',
      audience: values.server.settings.kubernetes.operatorAudience,
      expirationSeconds: 600,
    });
  });

  it('stay one label where an object gets it twice', async function () {
    needsTools(this);
    const values = {
      commonLabels: { team: 'platform' },
      monitoring: {
        labels: { team: 'metrics' },
        rules: { enabled: true },
        dashboard: { enabled: true, labels: { team: 'graphs' } },
      },
    };
    const all = await renderChart({ values });
    for (const [kind, name, team] of [
      ['PrometheusRule', 'assay', 'metrics'],
      ['ConfigMap', 'assay-dashboard', 'graphs'],
      ['ConfigMap', 'assay-server', 'platform'],
    ] as const) {
      const one = all.find(
        (object) => at(object, 'kind') === kind && at(object, 'metadata', 'name') === name,
      );
      assert.equal(at(one, 'metadata', 'labels', 'team'), team, name);
      assert.equal(at(one, 'metadata', 'labels', 'app.kubernetes.io/component'), 'server', name);
    }
  });

  for (const [what, values, named] of [
    [
      'a page that YAML takes for an alias',
      { monitoring: { runbookBase: '*pages' } },
      "at '/monitoring/runbookBase'",
    ],
    [
      'a label that admission goes by',
      { commonLabels: { 'pod-security.kubernetes.io/enforce': 'privileged' } },
      "'pod-security.kubernetes.io/enforce'",
    ],
    [
      'a label that says whose an object is',
      { monitoring: { labels: { 'app.kubernetes.io/name': 'other' } } },
      "'app.kubernetes.io/name'",
    ],
    [
      'a password in the address of a receiver',
      { server: { webhook: { url: 'https://a:b@a.example.org/', secret: { name: 'a' } } } },
      "at '/server/webhook/url'",
    ],
    ['what is no value of a label', { agent: { podLabels: { a: 'b c' } } }, "at '/agent/podLabels/a'"],
    [
      'a setting of the server in the environment of another program',
      { server: { cloud: { program: 'gce', env: [{ name: 'ASSAY_POLICY', value: '/tmp/a' }] } } },
      "at '/server/cloud/env/0/name'",
    ],
  ] as const)
    it(`are refused where no quotes would help: ${what}`, async function () {
      needsTools(this);
      assert.ok((await refusalOf({ values })).includes(named), named);
    });
});

describe('values that cannot stand together', function () {
  this.timeout(60_000);
  const enforcing = (enrolment: readonly string[], group: JsonObject = {}) => ({
    policy: {
      apiVersion: 'assay.dev/v1',
      kind: 'Policy',
      groups: [{ name: 'all', nodes: ['*'], mode: 'enforce', require: ['identity'], enrolment, ...group }],
    },
  });
  const reached = { server: { networkPolicy: { metrics: [{ podSelector: {} }] } } };
  const latched = { latched: true, auditKeyCopy: 'in the safe' };
  const trial = { trial: { enabled: true } };

  const cases: readonly (readonly [what: string, values: JsonObject, key: string])[] = [
    ['one namespace for both', { namespaces: { agents: 'assay' } }, 'namespaces.agents'],
    ['a server among the pods of others', { namespaces: { server: 'kube-system' } }, 'namespaces.server'],
    [
      'agents in a namespace that an uninstall would remove',
      { namespaces: { agents: 'kube-node-lease' } },
      'namespaces.agents',
    ],
    ['images that are always fetched, from nowhere', { image: { pullPolicy: 'Always' } }, 'image.pullPolicy'],
    [
      'a host before one image alone',
      { image: { server: { repository: 'registry.example.org/assay-server' } } },
      'image.server.repository',
    ],
    [
      'a registry without a host, which is one of strangers',
      { image: { registry: 'assay' } },
      'image.registry',
    ],
    [
      'a setting that the chart sets',
      { server: { settings: { stateDir: '/state' } } },
      'server.settings.stateDir',
    ],
    [
      'a port that the chart sets',
      { server: { settings: { agentPort: 9443 } } },
      'server.settings.agentPort',
    ],
    [
      'an account that the chart sets',
      { server: { settings: { kubernetes: { agentAccount: 'a/b' } } } },
      'server.settings.kubernetes.agentAccount',
    ],
    [
      'the node of the pod',
      { server: { settings: { marks: { ownNode: 'node-1' } } } },
      'server.settings.marks.ownNode',
    ],
    [
      'a taint that admission does not protect',
      { server: { settings: { marks: { pendingTaint: 'example.com/a' } } } },
      'server.settings.marks.pendingTaint',
    ],
    ['enforcement by a cloud that nobody asks', enforcing(['cloud']), 'policy.groups'],
    [
      'enforcement by vendors without their roots',
      { ...enforcing(['vendor']), server: { endorsementRoots: { builtin: false } } },
      'policy.groups',
    ],
    [
      'backups without a volume of their own',
      { server: { settings: { backup: { everyHours: 24 } } } },
      'server.backup.existingClaim',
    ],
    [
      'a volume for backups that nobody makes',
      { server: { backup: { existingClaim: 'copies' } } },
      'server.settings.backup.everyHours',
    ],
    [
      'backups on the volume of the state',
      {
        server: {
          settings: { backup: { everyHours: 24 } },
          backup: { existingClaim: 'state-assay-server-0' },
        },
      },
      'server.backup.existingClaim',
    ],
    [
      'a folder of backups that the chart sets',
      {
        server: {
          settings: { backup: { everyHours: 24, directory: '/backups' } },
          backup: { existingClaim: 'copies' },
        },
      },
      'server.settings.backup.directory',
    ],
    [
      'a latch without a volume',
      { ...enforcing(['pin']), trust: latched, server: { persistence: { enabled: false } } },
      'server.persistence.enabled',
    ],
    [
      'a latch without a copy of its key',
      { ...enforcing(['pin']), trust: { latched: true } },
      'trust.auditKeyCopy',
    ],
    ['a trial under a latch', { ...enforcing(['pin']), ...trial, trust: latched }, 'trial.enabled'],
    ['a trial of a group that enforces', { ...enforcing(['pin']), ...trial }, 'trial.enabled'],
    ['a trial whose TPM nobody uses', { ...trial, agent: { tpmBroker: 'host' } }, 'trial.enabled'],
    ['a TPM that a trial does not use', { ...trial, agent: { tcti: 'device:/dev/tpm1' } }, 'agent.tcti'],
    [
      'a TPM that is a program, and no trial',
      { agent: { tcti: 'swtpm:host=127.0.0.1,port=2321' } },
      'agent.tcti',
    ],
    [
      'a TPM for a broker that is none of the chart',
      { agent: { tpmBroker: 'host', tcti: 'device:/dev/tpmrm1' } },
      'agent.tcti',
    ],
    [
      'a trial that only the server knows of',
      { server: { settings: { trial: true } } },
      'server.settings.trial',
    ],
    ['a latch where every group observes', { trust: latched }, 'trust.latched'],
    [
      'marks that anybody may set',
      { ...enforcing(['pin']), admission: { enabled: false } },
      'admission.enabled',
    ],
    [
      'a warning where a group marks',
      { ...enforcing(['pin']), admission: { action: 'Warn' } },
      'admission.action',
    ],
    [
      'a note alone where a group labels',
      { ...enforcing(['pin'], { mode: 'label' }), admission: { action: 'Audit' } },
      'admission.action',
    ],
    [
      'a warning under the latch',
      { ...enforcing(['pin']), trust: latched, admission: { action: 'Warn' } },
      'admission.action',
    ],
    [
      'a claim where there is no volume',
      { server: { persistence: { enabled: false, existingClaim: 'a' } } },
      'server.persistence.existingClaim',
    ],
    [
      'a directory that nobody signs',
      { server: { declared: { configMaps: ['fleet'] } } },
      'server.declared.keys',
    ],
    [
      'keys that sign nothing',
      { server: { declared: { keys: [`RW${'a'.repeat(54)} merge`] } } },
      'server.declared.configMaps',
    ],
    [
      'a wrapping key twice',
      {
        server: {
          keys: { secret: { name: 'a' } },
          settings: { keys: { wrappingKeyFile: '/etc/assay-csi/wrapping-key' } },
        },
      },
      'server.settings.keys.wrappingKeyFile',
    ],
    [
      'a receiver without a secret',
      { server: { webhook: { url: 'https://a.example.org' } } },
      'server.webhook.secret.name',
    ],
    ['a secret without a receiver', { server: { webhook: { secret: { name: 'a' } } } }, 'server.webhook.url'],
    [
      'an environment of no program',
      { server: { cloud: { env: [{ name: 'AWS_REGION', value: 'b' }] } } },
      'server.cloud.program',
    ],
    [
      'ranges of no load balancer',
      { server: { service: { loadBalancerSourceRanges: ['192.0.2.0/24'] } } },
      'server.service.loadBalancerSourceRanges',
    ],
    [
      'peers of no network policy',
      { server: { networkPolicy: { enabled: false, metrics: [{ podSelector: {} }] } } },
      'server.networkPolicy.enabled',
    ],
    [
      'two volumes of one name',
      {
        server: {
          endorsementRoots: {
            volumes: [
              { name: 'a', configMap: 'b' },
              { name: 'a', secret: 'c' },
            ],
          },
        },
      },
      'server.endorsementRoots.volumes',
    ],
    [
      'two monitors of one server',
      { ...reached, monitoring: { serviceMonitor: { enabled: true }, podMonitor: { enabled: true } } },
      'monitoring.serviceMonitor, monitoring.podMonitor',
    ],
    [
      'a monitor that reaches nothing',
      { monitoring: { serviceMonitor: { enabled: true } } },
      'server.networkPolicy.metrics',
    ],
    [
      'half of what the latch asks for',
      { uninstall: { reason: 'moved' } },
      'uninstall.clusterUid, uninstall.reason',
    ],
    [
      'legacy tables that nobody reads',
      { agent: { netfilter: { enabled: false, legacyTables: true } } },
      'agent.netfilter.legacyTables',
    ],
    [
      'egress of no network policy',
      { server: { networkPolicy: { enabled: false, egress: [{ to: [{ podSelector: {} }] }] } } },
      'server.networkPolicy.enabled',
    ],
    [
      'how fast agents are replaced that nothing replaces',
      { agent: { updateStrategy: { type: 'OnDelete', rollingUpdate: { maxUnavailable: 1 } } } },
      'agent.updateStrategy.rollingUpdate',
    ],
    ['a chart that is no part of another one and is switched off', { enabled: false }, 'enabled'],
    [
      'a setting of the server in its environment',
      { server: { extraEnv: [{ name: 'ASSAY_POLICY', value: '/extra/policy.yaml' }] } },
      'server.extraEnv',
    ],
    [
      'a variable of the server that the chart sets',
      { server: { extraEnv: [{ name: 'NODE_OPTIONS', value: '--inspect' }] } },
      'server.extraEnv',
    ],
    [
      'how the server’s memory is given back, which the chart sets',
      { server: { extraEnv: [{ name: 'MALLOC_ARENA_MAX', value: '4' }] } },
      'server.extraEnv',
    ],
    [
      'a variable of the server twice',
      { server: { extraEnv: ['a', 'b'].map((value) => ({ name: 'TZ', value })) } },
      'server.extraEnv',
    ],
    [
      'a variable of the agent that the chart sets',
      { agent: { extraEnv: [{ name: 'ASSAY_AGENT_CA_FILE', value: '/extra/ca.crt' }] } },
      'agent.extraEnv',
    ],
    [
      'a setting of the agent by the name that it had before',
      { agent: { extraEnv: [{ name: 'ASSAY_CA_FILE', value: '/extra/ca.crt' }] } },
      'agent.extraEnv',
    ],
    [
      'an environment in which no certificate is checked',
      { agent: { extraEnv: [{ name: 'NODE_TLS_REJECT_UNAUTHORIZED', value: '0' }] } },
      'agent.extraEnv',
    ],
    [
      'two added volumes of one name',
      {
        server: {
          extraVolumes: [
            { name: 'a', emptyDir: {} },
            { name: 'a', configMap: { name: 'b' } },
          ],
          extraVolumeMounts: [{ name: 'a', mountPath: '/extra/a' }],
        },
      },
      'server.extraVolumes',
    ],
    [
      'an added volume that nothing mounts',
      { agent: { extraVolumes: [{ name: 'a', emptyDir: {} }] } },
      'agent.extraVolumes',
    ],
    [
      'a folder of the host for the server',
      {
        server: {
          extraVolumes: [{ name: 'a', hostPath: { path: '/srv' } }],
          extraVolumeMounts: [{ name: 'a', mountPath: '/extra/a' }],
        },
      },
      'server.extraVolumes',
    ],
    [
      'a mount of no added volume',
      { agent: { extraVolumeMounts: [{ name: 'token', mountPath: '/extra/token' }] } },
      'agent.extraVolumeMounts',
    ],
    [
      'a mount that hides what the chart mounts',
      {
        agent: {
          extraVolumes: [{ name: 'a', emptyDir: {} }],
          extraVolumeMounts: [{ name: 'a', mountPath: '/extra/../host/sys/kernel/security' }],
        },
      },
      'agent.extraVolumeMounts',
    ],
  ];
  const seen: string[] = [];
  let told: readonly string[] = [];
  before(async function () {
    needsTools(this);
    told = await contradictionsOf(cases.map(([, values]) => values));
  });
  for (const [index, [what, , key]] of cases.entries())
    it(`are refused, with the key and what to do: ${what}`, () => {
      const said = told[index] ?? '';
      const faults = said.split('\n').filter((line) => line.startsWith('  - '));
      assert.deepEqual(
        faults.map((line) => line.slice(4, 4 + key.length + 2)),
        [`${key}: `],
        said,
      );
      // What is wrong, and then what to do.
      for (const fault of faults) assert.match(fault, /: .+: .+/);
      seen.push(...faults);
    });

  it('are refused where the cluster lacks namespaces that the chart is not to make', async function () {
    needsTools(this);
    await using api = await openApiServer();
    const args = ['--dry-run=server', '--kubeconfig', await api.kubeconfig(administrator)];
    const values = { namespaces: { create: false } };
    const said = await refusalOf({ values, args });
    const faults = said.split('\n').filter((line) => line.startsWith('  - '));
    assert.deepEqual(
      faults.map((line) => /no namespace ([\w-]+): /.exec(line)?.[1]),
      ['assay', 'assay-agents'],
      said,
    );
    seen.push(...faults);
    for (const name of ['assay', 'assay-agents'])
      await api.as(administrator).request('POST', '/api/v1/namespaces', {
        ...{ apiVersion: 'v1', kind: 'Namespace' },
        metadata: { name },
      });
    assert.equal(await refusalOf({ values, args }), '');
    // Where no cluster is asked, nothing is known of it.
    assert.equal(await refusalOf({ values }), '');
  });

  it('have each a case here', function () {
    needsTools(this);
    const template = readFileSync(join(chartFolder, 'templates/_contradictions.tpl'), 'utf8');
    const sentences = [...template.matchAll(/append \$faults \(?(?:printf )?"([^"]*)"/g)].map(
      ([, text = '']) => text,
    );
    assert.ok(sentences.length > 10);
    const untried = sentences.filter((text) => {
      const pattern = new RegExp(
        text
          .split('%s')
          .map((part) => RegExp.escape(part))
          .join('.*'),
      );
      return !seen.some((fault) => pattern.test(fault));
    });
    assert.deepEqual(untried, []);
  });

  it('are refused by the schema already where a group has no way to enrol', async function () {
    needsTools(this);
    assert.match(await refusalOf({ values: enforcing([]) }), /at '\/policy\/groups\/0\/enrolment': minItems/);
  });

  it('are told all at once', async function () {
    needsTools(this);
    const said = await refusalOf({ values: { uninstall: { reason: 'a' }, namespaces: { agents: 'assay' } } });
    assert.match(said, /namespaces\.agents: [\s\S]*uninstall\.clusterUid/);
  });

  it('are none where a group enforces and its nodes can enrol', async function () {
    needsTools(this);
    const { policy } = enforcing(['pin']);
    const [first] = policy.groups;
    const groups = [
      { ...first, name: 'first', nodes: ['first-*'] },
      { name: 'others', nodes: ['*'] },
    ];
    const rendered = await renderEach([
      enforcing(['vendor']),
      { ...enforcing(['cloud']), server: { cloud: { program: 'gce' } } },
      { ...enforcing(['pin']), trust: latched },
      // One group is latched, and the next is still observed.
      { policy: { ...policy, groups }, trust: latched },
    ]);
    for (const all of rendered) assert.ok(all.length > 20);
  });
});

function isBelow(path: string, paths: readonly string[]): boolean {
  return paths.some((one) => path === one || path.startsWith(`${one}.`) || path.startsWith(`${one}[`));
}

/** Helm says `at '/server': additional properties 'settingss', 'namess' not allowed`. */
function namesUnknown(said: string, path: string): boolean {
  const keys = path.replaceAll(/\[(\d+)\]/g, '.$1').split('.');
  const place = `at '${keys.length > 1 ? '/' : ''}${keys.slice(0, -1).join('/')}': additional properties `;
  return said.split('\n').some((line) => line.includes(place) && line.includes(`'${keys.at(-1)}'`));
}

/** What the chart hands on as it is. */
const handedOn =
  /^(policy|server\.(settings|resources)|agent\.(resources\.\w+|seLinuxOptions|updateStrategy))$/;

/** What a chart gives to those that are parts of it. */
const ofUmbrellas = new Set(['enabled', 'global']);

/** Keys that hold no further ones; what is handed on as it is counts as one. */
function keysOf(of: JsonObject, prefix = ''): readonly string[] {
  const properties = at(of, 'properties');
  return Object.entries(isObject(properties) ? properties : {})
    .filter(([key]) => !ofUmbrellas.has(`${prefix}${key}`))
    .flatMap(([key, member]) => {
      const name = `${prefix}${key}`;
      const isWhole = handedOn.test(name) || at(member, 'properties') === undefined;
      return isWhole || !isObject(member) ? [name] : keysOf(member, `${name}.`);
    })
    .toSorted();
}

function keysOfValues(values: JsonObject): readonly string[] {
  const known = new Set(keysOf(schema));
  const visit = (value: Json, path: string): readonly string[] =>
    isObject(value) && !known.has(path)
      ? Object.entries(value).flatMap(([key, member]) => visit(member, path === '' ? key : `${path}.${key}`))
      : [path];
  return visit(values, '').toSorted();
}

function objectIn(value: unknown): JsonObject {
  return isObject(value) ? value : assert.fail('it is no object');
}
