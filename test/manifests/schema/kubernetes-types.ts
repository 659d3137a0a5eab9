import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Fields, readClientFields } from '../../swtpm-fixtures/api-server/read-client-fields.ts';

const models = join(import.meta.dirname, '../../../node_modules/@kubernetes/client-node/dist/gen/models');
const declarations = new Set(readdirSync(models).filter((file) => file.endsWith('.d.ts')));

/** Kinds of Kubernetes that a manifest may be of, by `apiVersion kind`, and their types. */
export const kubernetesKinds: Readonly<Record<string, string>> = {
  ...ofGroup('v1', 'Namespace', 'ServiceAccount', 'ConfigMap', 'Secret', 'Service', 'Pod', 'Node'),
  ...ofGroup('v1', 'PersistentVolumeClaim', 'ResourceQuota'),
  ...ofGroup('apps/v1', 'DaemonSet', 'StatefulSet', 'Deployment'),
  ...ofGroup('batch/v1', 'Job', 'CronJob'),
  ...ofGroup('rbac.authorization.k8s.io/v1', 'Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'),
  ...ofGroup('policy/v1', 'PodDisruptionBudget'),
  ...ofGroup('networking.k8s.io/v1', 'NetworkPolicy'),
  ...ofGroup('scheduling.k8s.io/v1', 'PriorityClass'),
  ...ofGroup('apiextensions.k8s.io/v1', 'CustomResourceDefinition'),
  ...ofGroup(
    'admissionregistration.k8s.io/v1',
    'ValidatingAdmissionPolicy',
    'ValidatingAdmissionPolicyBinding',
  ),
};

/** Members of each type, as the client of Kubernetes knows them (1.36). */
export const kubernetesFields: Fields = withNestedSchemas(
  await readClientFields(Object.values(kubernetesKinds)),
);

/** `Type.member` that no server of 1.30 knows: it refuses or forgets them. Recorded by write-newer-fields.ts. */
export const newerFields: ReadonlySet<string> = new Set(
  z.array(z.string()).parse(JSON.parse(readFileSync(join(import.meta.dirname, 'newer-fields.json'), 'utf8'))),
);

/** Members that an object of a type must have, as the declarations of the client say. */
export const requiredFields: ReadonlyMap<string, readonly string[]> = new Map(
  Object.keys(kubernetesFields).map((type) => [type, requiredOf(type)] as const),
);

function ofGroup(apiVersion: string, ...kinds: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(kinds.map((kind) => [`${apiVersion} ${kind}`, `V1${kind}`]));
}

/** The models do not say what these hold. A schema of additional members may also be `true`, which ours never are. */
function withNestedSchemas(fields: Fields): Fields {
  return {
    ...fields,
    V1JSONSchemaProps: {
      ...fields.V1JSONSchemaProps,
      items: 'V1JSONSchemaProps',
      additionalProperties: 'V1JSONSchemaProps',
    },
    V1CustomResourceSubresources: { ...fields.V1CustomResourceSubresources, status: '{any}' },
  };
}

function requiredOf(type: string): readonly string[] {
  const isRequired = new Map(
    [...readDeclaration(type).matchAll(/^ {4}'([^']+)'(\??): /gm)].map(
      ([, name = '', optional]) => [plain(name), optional === ''] as const,
    ),
  );
  return Object.keys(kubernetesFields[type] ?? {}).filter((member) => {
    const found = isRequired.get(plain(member));
    if (found === undefined) throw new Error(`the declaration of ${type} lacks ${member}`);
    return found;
  });
}

/** Declarations write `_default` for `default`, and `xKubernetesListType` for `x-kubernetes-list-type`. */
function plain(name: string): string {
  return name.replace(/[^A-Za-z]/g, '').toLowerCase();
}

function readDeclaration(type: string): string {
  const file = `${type}.d.ts`;
  if (!declarations.has(file)) throw new Error(`the client of Kubernetes declares no ${type}`);
  return readFileSync(join(models, file), 'utf8');
}
