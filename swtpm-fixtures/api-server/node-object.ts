import type { Json, JsonObject } from './json.ts';

export interface NodeOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly taints?: readonly JsonObject[];
  /** Added to those of a kubelet, or in the place of one with the same type. */
  readonly conditions?: readonly JsonObject[];
  readonly providerID?: string;
  readonly systemUUID?: string;
  readonly controlPlane?: boolean;
}

/** A Node as its kubelet registers and reports it: some 4 KB, most of them images. */
export function nodeObject(name: string, options: NodeOptions, timestamp: string): JsonObject {
  const { labels = {}, annotations = {}, taints = [], conditions = [], providerID, systemUUID } = options;
  const isControlPlane = options.controlPlane === true;
  const controlPlane = 'node-role.kubernetes.io/control-plane';
  const itsTaints: readonly Json[] = [
    ...(isControlPlane ? [{ key: controlPlane, effect: 'NoSchedule' }] : []),
    ...taints,
  ];
  const own = kubeletConditions
    .filter(({ type }) => !conditions.some((other) => other.type === type))
    .map((condition) => ({ ...condition, lastHeartbeatTime: timestamp, lastTransitionTime: timestamp }));
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'beta.kubernetes.io/arch': 'amd64',
        'beta.kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        ...(isControlPlane && { [controlPlane]: '' }),
        ...labels,
      },
      annotations: {
        'node.alpha.kubernetes.io/ttl': '0',
        'volumes.kubernetes.io/controller-managed-attach-detach': 'true',
        ...annotations,
      },
    },
    spec: {
      ...(providerID !== undefined && { providerID }),
      ...(itsTaints.length > 0 && { taints: itsTaints }),
    },
    status: {
      addresses: [
        { type: 'InternalIP', address: '192.0.2.1' },
        { type: 'Hostname', address: name },
      ],
      allocatable: { ...capacity, 'ephemeral-storage': '95491281146' },
      capacity,
      conditions: [...own, ...conditions],
      daemonEndpoints: { kubeletEndpoint: { Port: 10_250 } },
      images,
      nodeInfo: {
        architecture: 'amd64',
        bootID: '00000000-0000-4000-8000-000000000000',
        containerRuntimeVersion: 'containerd://2.1.0',
        kernelVersion: '6.12.0',
        kubeProxyVersion: '',
        kubeletVersion: 'v1.33.0',
        machineID: '00000000000040008000000000000000',
        operatingSystem: 'linux',
        osImage: 'Debian GNU/Linux 13 (trixie)',
        systemUUID: systemUUID ?? '00000000-0000-4000-8000-000000000001',
      },
    },
  };
}

const capacity: JsonObject = {
  cpu: '8',
  'ephemeral-storage': '103615296Ki',
  'hugepages-1Gi': '0',
  'hugepages-2Mi': '0',
  memory: '32781528Ki',
  pods: '110',
};

const kubeletConditions: readonly JsonObject[] = [
  ['MemoryPressure', 'False', 'KubeletHasSufficientMemory', 'kubelet has sufficient memory available'],
  ['DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'],
  ['PIDPressure', 'False', 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'],
  ['Ready', 'True', 'KubeletReady', 'kubelet is posting ready status'],
].map(([type = '', status = '', reason = '', message = '']) => ({ type, status, reason, message }));

const images: readonly JsonObject[] = Array.from({ length: 12 }, (_, index) => ({
  names: [
    `registry.example/team/service-${index}@sha256:${String(index).padStart(2, '0').repeat(32)}`,
    `registry.example/team/service-${index}:v1.${index}.0`,
  ],
  sizeBytes: 20_000_000 + index * 1_000_000,
}));
