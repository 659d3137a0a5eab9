import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';

const base = join(import.meta.dirname, '../../../manifests/base');

/** Strict, as all that says what a container may: a right that is not read here would not be tried. */
const context = z.strictObject({
  privileged: z.boolean().default(false),
  runAsUser: z.number().optional(),
  runAsGroup: z.number().optional(),
  runAsNonRoot: z.boolean().optional(),
  allowPrivilegeEscalation: z.boolean().optional(),
  readOnlyRootFilesystem: z.boolean().default(false),
  capabilities: z
    .strictObject({ drop: z.array(z.string()).default([]), add: z.array(z.string()).default([]) })
    .default({ drop: [], add: [] }),
});
const variable = z.object({ name: z.string(), value: z.string().optional() });
const mount = z.strictObject({
  name: z.string(),
  mountPath: z.string(),
  readOnly: z.boolean().default(false),
  // What the host mounts later is seen, too: the same folder here.
  mountPropagation: z.literal('HostToContainer').optional(),
});
const probe = z.object({ exec: z.object({ command: z.array(z.string()) }) });
const container = z.object({
  name: z.string(),
  image: z.string(),
  command: z.array(z.string()),
  args: z.array(z.string()).default([]),
  env: z.array(variable).default([]),
  securityContext: context,
  resources: z.object({ limits: z.object({ memory: z.string() }) }),
  volumeMounts: z.array(mount).default([]),
  livenessProbe: z.unknown().optional(),
});
const podContext = z.strictObject({
  runAsUser: z.number().optional(),
  runAsGroup: z.number().optional(),
  runAsNonRoot: z.boolean().optional(),
  fsGroup: z.number().optional(),
  fsGroupChangePolicy: z.literal('OnRootMismatch').optional(),
  seccompProfile: z.strictObject({ type: z.literal('RuntimeDefault') }),
});
const volume = z.looseObject({
  name: z.string(),
  hostPath: z.object({ path: z.string() }).optional(),
  emptyDir: z.unknown().optional(),
});
const workload = z.object({
  spec: z.object({
    template: z.object({
      spec: z.object({
        securityContext: podContext,
        initContainers: z.array(container).default([]),
        containers: z.array(container),
        volumes: z.array(volume),
      }),
    }),
  }),
});
const configMap = z.object({ data: z.record(z.string(), z.string()) });

type RenderedContainer = z.infer<typeof container>;

type ImageOfPods = 'agent' | 'server';

/** A container as the rendered chart has it: what a kubelet tells the runtime. */
export interface PodContainer {
  readonly name: string;
  readonly image: ImageOfPods | 'tpm-trial';
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: number;
  readonly group: number;
  /** Of its volumes; null where the pod gives them none. */
  readonly fsGroup: number | null;
  readonly privileged: boolean;
  readonly noNewPrivileges: boolean;
  readonly readOnlyRoot: boolean;
  /** What is left of capabilities; null: those that a runtime gives to anybody. */
  readonly capabilities: readonly string[] | null;
  /** As Kubernetes writes it. */
  readonly memory: string;
  readonly mounts: readonly { readonly volume: string; readonly path: string; readonly readOnly: boolean }[];
  /** Of the exec probe that decides whether it is started anew; null: it has none. */
  readonly health: readonly string[] | null;
}

export interface RenderedPod {
  readonly containers: Readonly<Record<string, PodContainer>>;
  /** Paths of the host by the name of their volume. */
  readonly hostPaths: Readonly<Record<string, string>>;
  /** Volumes that are made with the pod. */
  readonly emptyFolders: readonly string[];
}

/** @throws Error where the manifest has another form than this one reads */
export function readPod(image: ImageOfPods): RenderedPod {
  const pod = podOf(image);
  const all = [...pod.initContainers, ...pod.containers];
  return {
    containers: Object.fromEntries(
      all.map((one) => [one.name, containerOf(image, one, pod.securityContext)] as const),
    ),
    emptyFolders: pod.volumes.flatMap(({ name, emptyDir }) => (emptyDir === undefined ? [] : [name])),
    hostPaths: Object.fromEntries(
      pod.volumes.flatMap(({ name, hostPath }) =>
        hostPath === undefined ? [] : [[name, hostPath.path] as const],
      ),
    ),
  };
}

/** The names of the images that both pods have. */
export function readImages(): ReadonlySet<string> {
  const pods = [podOf('agent'), podOf('server')];
  return new Set(pods.flatMap((pod) => [...pod.initContainers, ...pod.containers].map(({ image }) => image)));
}

function podOf(image: ImageOfPods): z.infer<typeof workload>['spec']['template']['spec'] {
  const file = { agent: 'agent/daemonset.yaml', server: 'server/statefulset.yaml' }[image];
  return workload.parse(documentsOf(file)[0]).spec.template.spec;
}

/** The files of the server's ConfigMap. */
export function readServerSettings(): Readonly<Record<string, string>> {
  return configMap.parse(documentsOf('server/settings.yaml')[0]).data;
}

function documentsOf(file: string): readonly unknown[] {
  return parseAllDocuments(readFileSync(join(base, file), 'utf8')).map((document) => document.toJS());
}

function containerOf(
  image: ImageOfPods,
  {
    name,
    command,
    args,
    env,
    securityContext: own,
    resources,
    volumeMounts,
    livenessProbe,
  }: RenderedContainer,
  pod: z.infer<typeof podContext>,
): PodContainer {
  const [user, group] = [own.runAsUser ?? pod.runAsUser, own.runAsGroup ?? pod.runAsGroup];
  if (user === undefined || group === undefined)
    throw new Error(`the manifest gives ${name} no user and group`);
  if (user === 0 && (own.runAsNonRoot ?? pod.runAsNonRoot) === true)
    throw new Error(`a kubelet does not start ${name}: it would run as root`);
  const health = probe.safeParse(livenessProbe);
  return {
    name,
    image,
    argv: [...command, ...args],
    env: Object.fromEntries(
      env.flatMap(({ name: key, value }) => (value === undefined ? [] : [[key, value] as const])),
    ),
    user,
    group,
    fsGroup: pod.fsGroup ?? null,
    privileged: own.privileged,
    noNewPrivileges: own.allowPrivilegeEscalation === false,
    readOnlyRoot: own.readOnlyRootFilesystem,
    capabilities: own.capabilities.drop.includes('ALL') ? own.capabilities.add : null,
    memory: resources.limits.memory,
    mounts: volumeMounts.map(({ name: of, mountPath: path, readOnly }) => ({ volume: of, path, readOnly })),
    health: health.success ? health.data.exec.command : null,
  };
}
