import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
  textsAt,
} from '../../swtpm-fixtures/api-server/json.ts';

/** A control of the Pod Security Standards, and where a pod breaks it: `containers[agent].securityContext.privileged`. */
interface Control {
  readonly name: string;
  readonly level: 'baseline' | 'restricted';
  readonly broken: (pod: JsonObject) => readonly string[];
}

/** What the level `restricted` forbids in the spec of a pod, each as `CONTROL: PLACE`; with `baseline` only what that one forbids. */
export function breachesOf(
  pod: JsonObject,
  level: 'baseline' | 'restricted' = 'restricted',
): readonly string[] {
  return controls
    .filter((control) => level === 'restricted' || control.level === 'baseline')
    .flatMap(({ name, broken }) => broken(pod).map((place) => `${name}: ${place}`));
}

/** The spec of the pod that an object is or makes. */
export function podOf(object: JsonObject): JsonObject | null {
  const paths = { Pod: ['spec'], CronJob: ['spec', 'jobTemplate', 'spec', 'template', 'spec'] };
  const usual = ['DaemonSet', 'StatefulSet', 'Deployment', 'Job'];
  const kind = textAt(object, 'kind') ?? '';
  if (kind === 'Pod' || kind === 'CronJob') return asObject(at(object, ...paths[kind]));
  return usual.includes(kind) ? asObject(at(object, 'spec', 'template', 'spec')) : null;
}

export interface Container {
  readonly name: string;
  readonly place: string;
  readonly container: JsonObject;
}

export function containersOf(pod: JsonObject): readonly Container[] {
  return ['initContainers', 'containers', 'ephemeralContainers'].flatMap((list) =>
    listAt(pod, list)
      .filter(isObject)
      .map((container) => {
        const name = textAt(container, 'name') ?? '?';
        return { name, place: `${list}[${name}]`, container };
      }),
  );
}

/** Of the version 1.36 of the Pod Security Standards. */
const controls: readonly Control[] = [
  {
    name: 'HostProcess',
    level: 'baseline',
    broken: (pod) =>
      contexts(pod, (its) => at(its, 'windowsOptions', 'hostProcess') === true, 'windowsOptions.hostProcess'),
  },
  {
    name: 'Host Namespaces',
    level: 'baseline',
    broken: (pod) => ['hostNetwork', 'hostPID', 'hostIPC'].filter((name) => pod[name] === true),
  },
  {
    name: 'Privileged Containers',
    level: 'baseline',
    broken: (pod) => ofContainers(pod, (its) => at(its, 'privileged') === true, 'privileged'),
  },
  {
    name: 'Capabilities',
    level: 'baseline',
    broken: (pod) =>
      containersOf(pod).flatMap(({ place, container }) =>
        textsAt(container, 'securityContext', 'capabilities', 'add')
          .filter((name) => !usualCapabilities.has(name))
          .map((name) => `${place}.securityContext.capabilities.add ${name}`),
      ),
  },
  {
    name: 'HostPath Volumes',
    level: 'baseline',
    broken: (pod) => volumesWith(pod, (source) => source === 'hostPath'),
  },
  {
    name: 'Host Ports',
    level: 'baseline',
    broken: (pod) =>
      containersOf(pod).flatMap(({ place, container }) =>
        listAt(container, 'ports')
          .filter((port) => (at(port, 'hostPort') ?? 0) !== 0)
          .map(() => `${place}.ports.hostPort`),
      ),
  },
  {
    name: 'Host Probes / Lifecycle Hooks',
    level: 'baseline',
    broken: (pod) =>
      containersOf(pod).flatMap(({ place, container }) =>
        ['livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle']
          .filter((name) => namesHost(container[name]))
          .map((name) => `${place}.${name}`),
      ),
  },
  {
    name: 'AppArmor',
    level: 'baseline',
    broken: (pod) =>
      contexts(pod, (its) => textAt(its, 'appArmorProfile', 'type') === 'Unconfined', 'appArmorProfile.type'),
  },
  {
    name: 'SELinux',
    level: 'baseline',
    broken: (pod) =>
      contexts(
        pod,
        (its) => {
          const type = textAt(its, 'seLinuxOptions', 'type') ?? '';
          const isUsual = [
            '',
            'container_t',
            'container_init_t',
            'container_kvm_t',
            'container_engine_t',
          ].includes(type);
          return (
            !isUsual ||
            [textAt(its, 'seLinuxOptions', 'user'), textAt(its, 'seLinuxOptions', 'role')].some(Boolean)
          );
        },
        'seLinuxOptions',
      ),
  },
  {
    name: '/proc Mount Type',
    level: 'baseline',
    broken: (pod) =>
      ofContainers(pod, (its) => (textAt(its, 'procMount') ?? 'Default') !== 'Default', 'procMount'),
  },
  {
    name: 'Seccomp',
    level: 'baseline',
    broken: (pod) =>
      contexts(pod, (its) => textAt(its, 'seccompProfile', 'type') === 'Unconfined', 'seccompProfile.type'),
  },
  {
    name: 'Sysctls',
    level: 'baseline',
    broken: (pod) =>
      listAt(pod, 'securityContext', 'sysctls')
        .map((one) => textAt(one, 'name') ?? '?')
        .filter((name) => !safeSysctls.has(name))
        .map((name) => `securityContext.sysctls ${name}`),
  },
  {
    name: 'Volume Types',
    level: 'restricted',
    broken: (pod) => volumesWith(pod, (source) => !usualVolumes.has(source)),
  },
  {
    name: 'Privilege Escalation',
    level: 'restricted',
    broken: (pod) =>
      ofContainers(pod, (its) => at(its, 'allowPrivilegeEscalation') !== false, 'allowPrivilegeEscalation'),
  },
  {
    name: 'Running as Non-root',
    level: 'restricted',
    broken: (pod) => inherited(pod, ['runAsNonRoot'], (value) => value !== true),
  },
  {
    name: 'Running as Non-root user',
    level: 'restricted',
    broken: (pod) => contexts(pod, (its) => at(its, 'runAsUser') === 0, 'runAsUser'),
  },
  {
    name: 'Seccomp, restricted',
    level: 'restricted',
    broken: (pod) =>
      inherited(
        pod,
        ['seccompProfile', 'type'],
        (value) => value !== 'RuntimeDefault' && value !== 'Localhost',
      ),
  },
  {
    name: 'Capabilities, restricted',
    level: 'restricted',
    broken: (pod) =>
      ofContainers(
        pod,
        (its) =>
          !textsAt(its, 'capabilities', 'drop').includes('ALL') ||
          textsAt(its, 'capabilities', 'add').some((name) => name !== 'NET_BIND_SERVICE'),
        'capabilities',
      ),
  },
];

const usualCapabilities: ReadonlySet<string> = new Set([
  ...[
    'AUDIT_WRITE',
    'CHOWN',
    'DAC_OVERRIDE',
    'FOWNER',
    'FSETID',
    'KILL',
    'MKNOD',
    'NET_BIND_SERVICE',
    'SETFCAP',
  ],
  ...['SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT'],
]);

const usualVolumes: ReadonlySet<string> = new Set([
  ...[
    'configMap',
    'csi',
    'downwardAPI',
    'emptyDir',
    'ephemeral',
    'persistentVolumeClaim',
    'projected',
    'secret',
  ],
]);

const safeSysctls: ReadonlySet<string> = new Set([
  ...['kernel.shm_rmid_forced', 'net.ipv4.ip_local_port_range', 'net.ipv4.ip_unprivileged_port_start'],
  ...['net.ipv4.tcp_syncookies', 'net.ipv4.ping_group_range', 'net.ipv4.ip_local_reserved_ports'],
  ...['net.ipv4.tcp_keepalive_time', 'net.ipv4.tcp_fin_timeout', 'net.ipv4.tcp_keepalive_intvl'],
  ...['net.ipv4.tcp_keepalive_probes', 'net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem'],
]);

/** Security contexts of its containers of which this is so. */
function ofContainers(
  pod: JsonObject,
  isBroken: (its: Json | undefined) => boolean,
  what: string,
): readonly string[] {
  return containersOf(pod)
    .filter(({ container }) => isBroken(container.securityContext))
    .map(({ place }) => `${place}.securityContext.${what}`);
}

/** The same with the pod's own. */
function contexts(
  pod: JsonObject,
  isBroken: (its: Json | undefined) => boolean,
  what: string,
): readonly string[] {
  const own = isBroken(pod.securityContext) ? [`securityContext.${what}`] : [];
  return [...own, ...ofContainers(pod, isBroken, what)];
}

/** What a container does not say is said by its pod. */
function inherited(
  pod: JsonObject,
  path: readonly string[],
  isBroken: (value: Json | undefined) => boolean,
): readonly string[] {
  const ofPod = at(pod.securityContext, ...path);
  return containersOf(pod)
    .filter(({ container }) => isBroken(at(container.securityContext, ...path) ?? ofPod))
    .map(({ place }) => `${place}.securityContext.${path.join('.')}`);
}

function volumesWith(pod: JsonObject, isBroken: (source: string) => boolean): readonly string[] {
  return listAt(pod, 'volumes')
    .filter(isObject)
    .flatMap(({ name, ...sources }) =>
      Object.keys(sources)
        .filter(isBroken)
        .map(() => `volumes[${String(name)}]`),
    );
}

function namesHost(value: Json | undefined): boolean {
  if (Array.isArray(value)) return false;
  if (!isObject(value)) return false;
  return Object.entries(value).some(
    ([name, member]) => (name === 'host' && member !== '') || namesHost(member),
  );
}

function asObject(value: Json | undefined): JsonObject | null {
  return isObject(value) ? value : null;
}
