import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { at, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { needsTools, renderChart } from './kubernetes-tools.ts';
import { breachesOf, containersOf, podOf } from './pod-security.ts';
import { allManifests, manifestsCalled } from './renderings.ts';

const isOfAgents = (object: JsonObject) => textAt(object, 'kind') === 'DaemonSet';
const pods = (all: readonly JsonObject[], isWanted: (object: JsonObject) => boolean) =>
  all.flatMap((object) => {
    const pod = podOf(object);
    return pod === null || !isWanted(object)
      ? []
      : [{ name: textAt(object, 'metadata', 'name') ?? '?', pod }];
  });

for (const { name, objects } of allManifests)
  describe(`the pods of ${name}`, () => {
    it('keep the level restricted, but those of the agents', async function () {
      const found = pods(await objects(this), (object) => !isOfAgents(object));
      assert.ok(found.some((one) => one.name === 'assay-server'));
      for (const one of found) assert.deepEqual(breachesOf(one.pod), [], one.name);
    });

    it('take no token that they did not ask for, write nowhere but in volumes, and know no other Services', async function () {
      for (const one of pods(await objects(this), () => true)) {
        assert.equal(one.pod.enableServiceLinks, false, one.name);
        const mounted = at(one.pod, 'automountServiceAccountToken');
        // The server and the job that unmarks ask the API.
        assert.equal(mounted, ['assay-server', 'assay-unmark'].includes(one.name), one.name);
        for (const { place, container } of containersOf(one.pod))
          assert.equal(
            at(container, 'securityContext', 'readOnlyRootFilesystem'),
            true,
            `${one.name} ${place}`,
          );
      }
    });

    it('say what memory and time they need, and how much memory they may take', async function () {
      const isBare = name.endsWith('minimal');
      for (const one of pods(await objects(this), () => true))
        for (const { place, container } of containersOf(one.pod)) {
          if (isBare && one.name === 'assay-server') continue;
          for (const path of [
            ['requests', 'cpu'],
            ['requests', 'memory'],
            ['limits', 'memory'],
          ])
            assert.ok(textAt(container, 'resources', ...path), `${one.name} ${place} ${path.join('.')}`);
          // A limit of time makes the agent late, and its evidence with it.
          if (isOfAgents({ kind: one.name }))
            assert.equal(at(container, 'resources', 'limits', 'cpu'), undefined);
        }
    });
  });

describe('what the pods of the agents may beyond the level restricted', () => {
  const everywhere = [
    'Host Namespaces: hostNetwork',
    'Running as Non-root: initContainers[state].securityContext.runAsNonRoot',
    'Running as Non-root user: initContainers[state].securityContext.runAsUser',
  ];
  const ofNetfilter = (...capabilities: readonly string[]) => [
    ...capabilities.map(
      (name) => `Capabilities: containers[netfilter].securityContext.capabilities.add ${name}`,
    ),
    'Capabilities, restricted: containers[netfilter].securityContext.capabilities',
    'Running as Non-root: containers[netfilter].securityContext.runAsNonRoot',
    'Running as Non-root user: containers[netfilter].securityContext.runAsUser',
  ];
  const ofBroker = [
    'Privileged Containers: containers[tpm-broker].securityContext.privileged',
    'Privilege Escalation: containers[tpm-broker].securityContext.allowPrivilegeEscalation',
    'Capabilities, restricted: containers[tpm-broker].securityContext.capabilities',
    'Running as Non-root: containers[tpm-broker].securityContext.runAsNonRoot',
    'Running as Non-root user: containers[tpm-broker].securityContext.runAsUser',
  ];
  // Without any capability, and with no device.
  const asRoot = (...containers: readonly string[]) =>
    containers.flatMap((one) => [
      `Running as Non-root: containers[${one}].securityContext.runAsNonRoot`,
      `Running as Non-root user: containers[${one}].securityContext.runAsUser`,
    ]);
  for (const [name, expected] of [
    ['the base', [...everywhere, ...ofNetfilter('NET_ADMIN'), ...ofBroker]],
    ['the chart', [...everywhere, ...ofNetfilter('NET_ADMIN'), ...ofBroker]],
    [
      'the chart, everything',
      [
        ...everywhere,
        ...ofNetfilter('NET_ADMIN', 'NET_RAW'),
        ...ofBroker,
        'SELinux: securityContext.seLinuxOptions',
      ],
    ],
    ['the chart, host-helpers', everywhere],
    ['the chart, trial', [...everywhere, ...ofNetfilter('NET_ADMIN'), ...asRoot('tpm-broker', 'tpm-trial')]],
    ['the chart, trial-elsewhere', [...everywhere, ...ofNetfilter('NET_ADMIN'), ...asRoot('tpm-broker')]],
  ] as const)
    it(`is exactly this, in ${name}`, async function () {
      const [one] = pods(await manifestsCalled(name).objects(this), isOfAgents);
      const found = breachesOf(one?.pod ?? {}).filter(
        (breach) => !/^(HostPath Volumes|Volume Types): /.test(breach),
      );
      assert.deepEqual(found.toSorted(), expected.toSorted());
    });

  it('is to see these paths of the host, and to write none of them but its state and the device', async function () {
    const [one] = pods(await manifestsCalled('the chart, everything').objects(this), isOfAgents);
    const mounts = hostPathsOf(one?.pod ?? {});
    assert.deepEqual(
      mounts.filter(({ isWritable }) => isWritable).map(({ path, by }) => `${path} by ${by}`),
      ['/var/lib/assay-agent by state', '/var/lib/assay-agent by agent', '/dev by tpm-broker'],
    );
    for (const { path, at: where, by } of mounts) {
      if (path === '/var/lib/assay-agent') continue;
      assert.equal(where, `/host${path}`, by);
      // Sockets of container runtimes, and secrets that group 0 may read.
      assert.doesNotMatch(path, /^\/(run|etc|proc|sys|usr|root|home)?\/?$/, by);
    }
    const [bare] = pods(await manifestsCalled('the base').objects(this), isOfAgents);
    const usual = hostPathsOf(bare?.pod ?? {}).map(({ path }) => path);
    // Only what each node has: another path would keep the pod from starting.
    for (const path of ['/etc/ssh', '/boot', '/var', '/var/lib/dpkg', '/sys/fs/btrfs'])
      assert.ok(!usual.includes(path), path);
  });

  it('is the TPM that a value names, below the /dev of the host, or where no device is', async function () {
    const tctiIn = async (values: JsonObject) => {
      const [one] = pods(await renderChart({ values }), isOfAgents);
      const broker = containersOf(one?.pod ?? {}).find(({ name }) => name === 'tpm-broker');
      const found = listAt(broker?.container, 'env').find(
        (each) => textAt(each, 'name') === 'ASSAY_TPM_BROKER_TCTI',
      );
      return textAt(found, 'value');
    };
    needsTools(this);
    const trial = { trial: { enabled: true } };
    assert.equal(await tctiIn({}), 'device:/host/dev/tpmrm0');
    assert.equal(await tctiIn({ agent: { tcti: 'device:/dev/tpmrm1' } }), 'device:/host/dev/tpmrm1');
    assert.equal(await tctiIn(trial), 'swtpm:path=/run/assay-tpm/tpm.sock');
    const tcti = 'swtpm:host=127.0.0.1,port=2321';
    assert.equal(await tctiIn({ ...trial, agent: { tcti } }), tcti);
  });

  it('is on trial a TPM that lies in a folder of its own, of which one container has the state and one more the socket', async function () {
    const [one] = pods(await manifestsCalled('the chart, trial').objects(this), isOfAgents);
    const pod = one?.pod ?? {};
    const byVolume = (volume: string) =>
      containersOf(pod).flatMap(({ name, container }) =>
        listAt(container, 'volumeMounts')
          .filter((mount) => textAt(mount, 'name') === volume)
          .map((mount) => `${name}${at(mount, 'readOnly') === true ? ' reads' : ''}`),
      );
    assert.deepEqual(byVolume('tpm-trial-state'), ['tpm-trial']);
    assert.deepEqual(byVolume('tpm-trial-sockets'), ['tpm-broker reads', 'tpm-trial']);
    const writable = hostPathsOf(pod).filter(({ isWritable }) => isWritable);
    assert.deepEqual([...new Set(writable.map(({ path }) => path))].sort(), [
      '/var/lib/assay-agent',
      '/var/lib/assay-tpm-trial',
    ]);
    // What the host's own firmware logged would contradict it.
    assert.ok(
      !hostPathsOf(pod).some(({ path }) => path.startsWith('/sys/kernel/security') || path === '/dev'),
    );
  });

  it('is that one container alone reaches the TPM, and another one the token, and none takes the place of another', async function () {
    for (const name of ['the base', 'the chart, everything']) {
      const [one] = pods(await manifestsCalled(name).objects(this), isOfAgents);
      const withMount = (volume: string) =>
        containersOf(one?.pod ?? {})
          .filter(({ container }) =>
            listAt(container, 'volumeMounts').some((mount) => textAt(mount, 'name') === volume),
          )
          .map((container) => container.name);
      assert.deepEqual([withMount('dev'), withMount('token')], [['tpm-broker'], ['agent']]);
      // Root in one container owns what root made in another one: it could take the place of the TPM.
      assert.deepEqual(withMount('tpm-sockets'), ['state', 'agent', 'tpm-broker']);
      assert.deepEqual(withMount('netfilter-sockets'), ['state', 'agent', 'netfilter']);
      const agent = containersOf(one?.pod ?? {}).find((container) => container.name === 'agent');
      const asked = listAt(agent?.container, 'volumeMounts').filter((mount) =>
        ['tpm-sockets', 'netfilter-sockets'].includes(textAt(mount, 'name') ?? ''),
      );
      assert.deepEqual(
        asked.map((mount) => at(mount, 'readOnly')),
        [true, true],
      );
    }
  });
});

interface HostMount {
  readonly path: string;
  readonly at: string;
  readonly by: string;
  readonly isWritable: boolean;
}

function hostPathsOf(pod: JsonObject): readonly HostMount[] {
  const paths = new Map(
    listAt(pod, 'volumes').flatMap((volume) => {
      const path = textAt(volume, 'hostPath', 'path');
      return path === undefined ? [] : [[textAt(volume, 'name'), path] as const];
    }),
  );
  return containersOf(pod).flatMap(({ name: by, container }) =>
    listAt(container, 'volumeMounts').flatMap((mount) => {
      const path = paths.get(textAt(mount, 'name'));
      const isWritable = at(mount, 'readOnly') !== true;
      return path === undefined ? [] : [{ path, at: textAt(mount, 'mountPath') ?? '', by, isWritable }];
    }),
  );
}
