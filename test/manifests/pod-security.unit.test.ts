import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { breachesOf } from './pod-security.ts';

const secure = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
  capabilities: { drop: ['ALL'] },
};
const podOf = (context: JsonObject, container: JsonObject = {}, pod: JsonObject = {}): JsonObject => ({
  containers: [{ name: 'a', image: 'b', securityContext: { ...secure, ...context }, ...container }],
  ...pod,
});
const inA = 'containers[a].securityContext';

describe('the Pod Security level restricted', () => {
  const cases: readonly (readonly [what: string, pod: JsonObject, ...breaches: readonly string[]])[] = [
    ['nothing of a pod that keeps it', podOf({ capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } })],
    [
      'a process of the host',
      podOf({ windowsOptions: { hostProcess: true } }),
      `HostProcess: ${inA}.windowsOptions.hostProcess`,
    ],
    [
      'the network of the host',
      podOf({}, {}, { hostNetwork: true, hostPID: false }),
      'Host Namespaces: hostNetwork',
    ],
    [
      'processes of the host',
      podOf({}, {}, { hostPID: true, hostIPC: true }),
      'Host Namespaces: hostPID',
      'Host Namespaces: hostIPC',
    ],
    ['a privileged container', podOf({ privileged: true }), `Privileged Containers: ${inA}.privileged`],
    [
      'a capability',
      podOf({ capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } }),
      `Capabilities: ${inA}.capabilities.add NET_ADMIN`,
      `Capabilities, restricted: ${inA}.capabilities`,
    ],
    [
      'one that baseline allows',
      podOf({ capabilities: { drop: ['ALL'], add: ['CHOWN'] } }),
      `Capabilities, restricted: ${inA}.capabilities`,
    ],
    [
      'capabilities that stay',
      podOf({ capabilities: { drop: ['NET_RAW'] } }),
      `Capabilities, restricted: ${inA}.capabilities`,
    ],
    [
      'a path of the host',
      podOf({}, {}, { volumes: [{ name: 'v', hostPath: { path: '/' } }] }),
      'HostPath Volumes: volumes[v]',
      'Volume Types: volumes[v]',
    ],
    [
      'another kind of volume',
      podOf({}, {}, { volumes: [{ name: 'v', nfs: { server: 'a', path: '/' } }] }),
      'Volume Types: volumes[v]',
    ],
    [
      'a port of the host',
      podOf({}, { ports: [{ containerPort: 1, hostPort: 1 }] }),
      'Host Ports: containers[a].ports.hostPort',
    ],
    [
      'a probe of another machine',
      podOf({}, { livenessProbe: { httpGet: { host: '169.254.169.254', port: 80 } } }),
      'Host Probes / Lifecycle Hooks: containers[a].livenessProbe',
    ],
    [
      'no AppArmor',
      podOf({ appArmorProfile: { type: 'Unconfined' } }),
      `AppArmor: ${inA}.appArmorProfile.type`,
    ],
    [
      'another type of SELinux',
      podOf({ seLinuxOptions: { type: 'spc_t' } }),
      `SELinux: ${inA}.seLinuxOptions`,
    ],
    ['all of /proc', podOf({ procMount: 'Unmasked' }), `/proc Mount Type: ${inA}.procMount`],
    [
      'no seccomp',
      podOf({ seccompProfile: { type: 'Unconfined' } }),
      `Seccomp: ${inA}.seccompProfile.type`,
      `Seccomp, restricted: ${inA}.seccompProfile.type`,
    ],
    [
      'a sysctl',
      podOf({}, {}, { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }),
      'Sysctls: securityContext.sysctls kernel.msgmax',
    ],
    [
      'more privileges later',
      podOf({ allowPrivilegeEscalation: true }),
      `Privilege Escalation: ${inA}.allowPrivilegeEscalation`,
    ],
    [
      'root, maybe',
      podOf({ runAsNonRoot: false }, {}, { securityContext: { runAsNonRoot: true } }),
      `Running as Non-root: ${inA}.runAsNonRoot`,
    ],
    ['the user root', podOf({ runAsUser: 0 }), `Running as Non-root user: ${inA}.runAsUser`],
  ];
  for (const [what, pod, ...breaches] of cases)
    it(`is broken by: ${what}`, () => assert.deepEqual(breachesOf(pod), breaches));

  it('is kept where the pod says for its containers what they do not', () => {
    const { allowPrivilegeEscalation, capabilities, ...ofPod } = secure;
    const containers = [
      { name: 'a', image: 'b', securityContext: { allowPrivilegeEscalation, capabilities } },
    ];
    assert.deepEqual(breachesOf({ securityContext: ofPod, containers }), []);
    assert.deepEqual(breachesOf({ containers, initContainers: containers }).length, 4);
  });

  it('is looked at in each container of a pod', () => {
    const open = { name: 'b', image: 'b' };
    for (const list of ['initContainers', 'containers', 'ephemeralContainers'])
      assert.ok(breachesOf({ [list]: [open] }).every((breach) => breach.includes(`${list}[b]`)));
  });
});
