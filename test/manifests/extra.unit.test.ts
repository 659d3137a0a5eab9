import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, it } from 'mocha';
import { parse } from 'yaml';
import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { needsTools, refusalOf, renderChart } from './kubernetes-tools.ts';
import { contradictionsOf, mergedValues, renderEach } from './many-values.ts';
import { containersOf, podOf } from './pod-security.ts';
import { manifestsCalled } from './renderings.ts';

const everything = [join(import.meta.dirname, 'values/everything.yaml')];
const ofKind = (objects: readonly JsonObject[], kind: string, name: string) =>
  objects.find((one) => textAt(one, 'kind') === kind && textAt(one, 'metadata', 'name') === name);
const containerOf = (objects: readonly JsonObject[], kind: string, name: string, container: string) => {
  const pod = podOf(ofKind(objects, kind, name) ?? {}) ?? {};
  return containersOf(pod).find((one) => one.name === container)?.container ?? {};
};
const pods = [
  ['server', 'StatefulSet', 'assay-server', 'server'],
  ['server', 'Job', 'assay-check', 'check'],
  ['agent', 'DaemonSet', 'assay-agent', 'agent'],
] as const;
/** Nothing of it is added by values. */
const plain = { extraEnv: [], extraVolumes: [], extraVolumeMounts: [] };

describe('what values add to pods', function () {
  this.timeout(60_000);

  it('is in the container that it is for, and in the look at settings the volumes of the server', async function () {
    const all = await manifestsCalled('the chart, everything').objects(this);
    const added = (kind: string, name: string) =>
      containersOf(podOf(ofKind(all, kind, name) ?? {}) ?? {}).flatMap(({ name: its, container }) => [
        ...listAt(container, 'volumeMounts')
          .map((mount) => textAt(mount, 'name') ?? '')
          .filter((mount) => mount.startsWith('extra-'))
          .map((mount) => `${its}: ${mount}`),
        ...listAt(container, 'env')
          .map((one) => textAt(one, 'name') ?? '')
          .filter((one) => /SERVICE_HOST|EXTRA|JOIN_TOKEN/.test(one))
          .map((one) => `${its}: ${one}`),
      ]);
    assert.deepEqual(added('StatefulSet', 'assay-server'), [
      'server: extra-authorities',
      'server: KUBERNETES_SERVICE_HOST',
      'server: NODE_EXTRA_CA_CERTS',
    ]);
    assert.deepEqual(added('Job', 'assay-check'), ['check: extra-authorities']);
    assert.deepEqual(added('DaemonSet', 'assay-agent'), [
      'agent: extra-join',
      'agent: ASSAY_AGENT_JOIN_TOKEN_FILE',
    ]);
    assert.deepEqual(added('Job', 'assay-unmark'), []);
  });

  for (const files of [[], everything])
    it(`is refused where it has the name of a variable that the chart sets: ${files.length === 0 ? 'as it is' : 'everything'}`, async function () {
      needsTools(this);
      const all = await renderChart({ files, values: { server: plain, agent: plain } });
      const named = pods
        .filter(([, kind]) => kind !== 'Job')
        .map(([side, kind, name, container]) => {
          const env = listAt(containerOf(all, kind, name, container), 'env');
          return { side, names: env.map((one) => textAt(one, 'name') ?? '') };
        });
      const told = await contradictionsOf(
        named.map(({ side, names }) => {
          const extraEnv = names.map((name) => ({ name, value: 'x' }));
          return over(files, { [side]: { ...plain, extraEnv } });
        }),
      );
      for (const [index, { side, names }] of named.entries()) {
        assert.ok(names.length >= 5, side);
        const unnamed = names.filter((one) => !told[index]?.includes(`- ${side}.extraEnv: ${one} `));
        assert.deepEqual(unnamed, []);
      }
    });

  it('is refused where it would have another program start, which the image names', async function () {
    needsTools(this);
    const extraEnv = [{ name: 'PATH', value: '/extra/bin:/usr/bin' }];
    const said = await refusalOf({ values: { server: { extraEnv }, agent: { extraEnv } } });
    for (const side of ['server', 'agent'])
      assert.match(said, new RegExp(`- ${side}\\.extraEnv: PATH is set already`));
  });

  it('may name the socket of the host where the chart has no container that reads the firewall', async function () {
    needsTools(this);
    const extraEnv = [{ name: 'ASSAY_AGENT_NETFILTER', value: '/host/run/assay/netfilter.sock' }];
    assert.match(
      await refusalOf({ values: { agent: { extraEnv } } }),
      /ASSAY_AGENT_NETFILTER is set already/,
    );
    const agent = { extraEnv, netfilter: { enabled: false } };
    assert.equal(await refusalOf({ values: { agent } }), '');
  });

  it('is refused where it would be at, below or above what the chart mounts', async function () {
    needsTools(this);
    const all = await renderChart({ files: everything, values: { server: plain, agent: plain } });
    const tried = pods.map(([side, kind, name, container]) => {
      const mounted = listAt(containerOf(all, kind, name, container), 'volumeMounts').map(
        (mount) => textAt(mount, 'mountPath') ?? '',
      );
      assert.ok(mounted.length > 3, name);
      const paths = mounted.flatMap((path) => [path, `${path}/below/it`, posix.dirname(path), `/${path}//`]);
      return { side, paths };
    });
    assert.deepEqual(await letThrough(tried), [[], [], []]);
  });

  it('is refused where it would be at what the image holds, the token of the account, or these by another name', async function () {
    needsTools(this);
    const paths = [
      ...[
        '/',
        '/.',
        '/usr',
        '/usr/lib/assay',
        '/usr/bin/node',
        '/bin',
        '/lib64',
        '/proc/1',
        '/sys/x',
        '/dev',
      ],
      ...['/var/run/secrets/kubernetes.io/serviceaccount', '/var', '/etc', '/extra/../etc/assay', '/run'],
    ];
    const free = [
      '/extra',
      '/extra/a',
      '/etc/ssl/certs',
      '/etc/assay-of-ours',
      '/opt/assay',
      '/hosts',
      '/srv',
    ];
    const tried = ['server', 'agent'].flatMap((side) => [paths, free].map((its) => ({ side, paths: its })));
    assert.deepEqual(await letThrough(tried), [[], free, [], free]);
  });

  it('has a name that no volume of the chart has, whatever it is called', async function () {
    needsTools(this);
    const all = await manifestsCalled('the chart, everything').objects(this);
    for (const [side, kind, name, container] of pods) {
      const own = listAt(podOf(ofKind(all, kind, name) ?? {}) ?? {}, 'volumes').map(
        (volume) => textAt(volume, 'name') ?? '',
      );
      const names = own.filter((one) => !one.startsWith('extra-'));
      const values = {
        [side]: {
          extraVolumes: names.map((one) => ({ name: one, emptyDir: {} })),
          extraVolumeMounts: names.map((one) => ({ name: one, mountPath: `/extra/${one}` })),
        },
      };
      const pod = podOf(ofKind(await renderChart({ files: everything, values }), kind, name) ?? {}) ?? {};
      const found = listAt(pod, 'volumes').map((volume) => textAt(volume, 'name') ?? '');
      assert.deepEqual(found.toSorted(), [...names, ...names.map((one) => `extra-${one}`)].toSorted(), name);
      const mounts = containersOf(pod).find((one) => one.name === container)?.container ?? {};
      for (const one of names)
        assert.ok(
          listAt(mounts, 'volumeMounts').some(
            (mount) =>
              textAt(mount, 'name') === `extra-${one}` && textAt(mount, 'mountPath') === `/extra/${one}`,
          ),
          one,
        );
    }
  });
});

describe('how agents are placed and replaced', function () {
  this.timeout(60_000);
  const agentsOf = async (all: readonly JsonObject[]) =>
    (await renderEach(all, 'agent/')).map((each) => ofKind(each, 'DaemonSet', 'assay-agent') ?? {});

  it('is as a DaemonSet has it, and as before where no value says it', async function () {
    needsTools(this);
    const cases: readonly (readonly [JsonObject, JsonObject])[] = [
      [{}, { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '10%' } }],
      [{ maxUnavailable: 2 }, { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 2 } }],
      [{ updateStrategy: { type: 'OnDelete' } }, { type: 'OnDelete' }],
      [
        { updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '5%' } } },
        { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '5%' } },
      ],
      [
        { updateStrategy: { rollingUpdate: { maxUnavailable: 3 } } },
        { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 3 } },
      ],
    ];
    const sets = await agentsOf(cases.map(([agent]) => ({ agent })));
    assert.deepEqual(
      sets.map((set) => at(set, 'spec', 'updateStrategy')),
      cases.map(([, expected]) => expected),
    );
    const twice = { updateStrategy: { rollingUpdate: { maxUnavailable: 1, maxSurge: 1 } } };
    assert.match(
      await refusalOf({ values: { agent: twice } }),
      /at '\/agent\/updateStrategy\/rollingUpdate'.*'maxSurge'/,
    );
  });

  it('tolerates the taints of Assay, whatever a value says', async function () {
    needsTools(this);
    const marks = { server: { settings: { marks: { pendingTaint: 'assay.dev/waiting' } } } };
    const sets = await agentsOf([
      {},
      { agent: { tolerations: [] } },
      { ...marks, agent: { tolerations: [{ key: 'a', operator: 'Exists' }] } },
    ]);
    const ours = ['assay.dev/pending', 'assay.dev/reproving', 'assay.dev/untrusted'];
    assert.deepEqual(
      sets.map((set) =>
        listAt(set, 'spec', 'template', 'spec', 'tolerations').map((one) => textAt(one, 'key') ?? '*'),
      ),
      [[...ours, '*'], ours, ['assay.dev/waiting', ...ours.slice(1), 'a']],
    );
  });
});

describe('where the server may connect to', function () {
  this.timeout(60_000);

  it('is everywhere, unless a value says it', async function () {
    needsTools(this);
    const rules = [{ to: [{ ipBlock: { cidr: '192.0.2.1/32' } }], ports: [{ port: 6443, protocol: 'TCP' }] }];
    // An empty rule is Kubernetes' word for everything.
    const values = [[], rules, [{}]].map((egress) => ({ server: { networkPolicy: { egress } } }));
    const policies = (await renderEach(values, 'server/')).map(
      (all) => ofKind(all, 'NetworkPolicy', 'assay-server') ?? {},
    );
    assert.deepEqual(
      policies.map((policy) => [at(policy, 'spec', 'policyTypes'), at(policy, 'spec', 'egress')]),
      [
        [['Ingress'], undefined],
        [['Ingress', 'Egress'], rules],
        [['Ingress', 'Egress'], [{}]],
      ],
    );
  });
});

/** Of each, the paths at which a mount is not refused. */
async function letThrough(
  tried: readonly { readonly side: string; readonly paths: readonly string[] }[],
): Promise<readonly (readonly string[])[]> {
  const told = await contradictionsOf(
    tried.map(({ side, paths }) =>
      over(everything, {
        [side]: {
          extraVolumes: [{ name: 'a', emptyDir: {} }],
          extraVolumeMounts: paths.map((mountPath) => ({ name: 'a', mountPath })),
        },
      }),
    ),
  );
  return tried.map(({ side, paths }, index) =>
    paths.filter((path) => !told[index]?.includes(`- ${side}.extraVolumeMounts: ${path} would hide `)),
  );
}

/** These values over those of files. */
function over(files: readonly string[], values: JsonObject): JsonObject {
  const merged = [...files.map((file): Json => parse(readFileSync(file, 'utf8'))), values].reduce(
    mergedValues,
    {},
  );
  return isObject(merged) ? merged : {};
}
