import { isEqual, type KubeObject, type Metadata } from './json.ts';
import type { ResourceType } from './resource-type.ts';
import { type Cause, invalidValue, required } from './status.ts';

const mostAnnotationBytes = 256 * 1024;

const labelPart = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$/;
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** What is wrong with the metadata of an object. */
export function checkMetadata(object: KubeObject, type: ResourceType): readonly Cause[] {
  const { metadata } = object;
  return [
    ...checkName(metadata, type),
    ...Object.entries(metadata.labels ?? {}).flatMap(([key, value]) => [
      ...checkQualifiedName('metadata.labels', key),
      ...checkLabelValue('metadata.labels', value),
    ]),
    ...checkAnnotations(metadata),
    ...(metadata.finalizers ?? []).flatMap((name) => checkQualifiedName('metadata.finalizers', name)),
    ...(type.schema === null ? checkFinalizers(metadata.finalizers ?? []) : []),
    // The real one does not say which of them.
    ...(metadata.ownerReferences ?? []).flatMap((owner) =>
      (['apiVersion', 'kind', 'name', 'uid'] as const)
        .filter((member) => owner[member] === '')
        .map((member) =>
          invalidValue(`metadata.ownerReferences.${member}`, '', `${member} must not be empty`),
        ),
    ),
  ];
}

/** Kubernetes' own types take a name without a domain only where it is one of its own. */
function checkFinalizers(finalizers: readonly string[]): readonly Cause[] {
  const own = ['kubernetes', 'orphan', 'foregroundDeletion'];
  const why = 'name is neither a standard finalizer name nor is it fully qualified';
  return finalizers.flatMap((name, index) =>
    name.includes('/') || own.includes(name)
      ? []
      : [invalidValue(`metadata.finalizers[${index}]`, name, why)],
  );
}

/** What an update may not change. */
export function checkMetadataUpdate({ metadata }: KubeObject, old: KubeObject): readonly Cause[] {
  const names = ['name', 'namespace', 'uid', 'creationTimestamp', 'deletionTimestamp'] as const;
  const added = (metadata.finalizers ?? []).filter((name) => !old.metadata.finalizers?.includes(name));
  return [
    ...names
      .filter((name) => !isEqual(metadata[name], old.metadata[name]))
      .map((name) => invalidValue(`metadata.${name}`, metadata[name], 'field is immutable')),
    ...(old.metadata.deletionTimestamp !== undefined && added.length > 0
      ? [
          {
            type: 'FieldValueForbidden' as const,
            field: 'metadata.finalizers',
            message: `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
          },
        ]
      : []),
  ];
}

/** `prefix/name`, or a name alone. */
export function checkQualifiedName(field: string, key: string): readonly Cause[] {
  const parts = key.split('/');
  const [first = '', second] = parts;
  const [prefix, name] = second === undefined ? [null, first] : [first, second];
  const fits =
    parts.length <= 2 &&
    name.length > 0 &&
    name.length <= 63 &&
    labelPart.test(name) &&
    (prefix === null || (prefix.length > 0 && prefix.length <= 253 && subdomain.test(prefix)));
  if (fits) return [];
  const why = 'a qualified name is an optional DNS subdomain and a slash, and up to 63 of A-Z a-z 0-9 - _ .';
  return [invalidValue(field, key, why)];
}

export function checkLabelValue(field: string, value: string): readonly Cause[] {
  if (value === '' || (value.length <= 63 && labelPart.test(value))) return [];
  return [
    invalidValue(
      field,
      value,
      'a valid label is empty, or up to 63 of A-Z a-z 0-9 - _ . between alphanumerics',
    ),
  ];
}

function isSubdomain(name: string): boolean {
  return name.length <= 253 && subdomain.test(name);
}

function isDnsLabel(name: string): boolean {
  return name.length <= 63 && label.test(name);
}

function checkName(metadata: Metadata, type: ResourceType): readonly Cause[] {
  const { generateName } = metadata;
  const prefix = typeof generateName === 'string' ? generateName.replace(/-$/, 'a') : '';
  return [
    ...(prefix === '' ? [] : checkNameAt('metadata.generateName', prefix, type)),
    ...checkOwnName(metadata, type),
  ];
}

function checkOwnName({ name, namespace }: Metadata, type: ResourceType): readonly Cause[] {
  const field = 'metadata.name';
  if (name === '') return [required(field, 'name or generateName is required')];
  if (type.namespaced && namespace === undefined) return [required('metadata.namespace')];
  return checkNameAt(field, name, type);
}

function checkNameAt(field: string, name: string, type: ResourceType): readonly Cause[] {
  // Roles have names such as system:node, which are free but for what a path cannot hold.
  if (type.group === 'rbac.authorization.k8s.io') {
    return /^(\.{1,2})$|[/%]/.test(name)
      ? [invalidValue(field, name, "may not be '.', '..', or contain '/' or '%'")]
      : [];
  }
  const fits = type.plural === 'namespaces' ? isDnsLabel(name) : isSubdomain(name);
  if (fits) return [];
  const kind = type.plural === 'namespaces' ? 'an RFC 1123 label' : 'a lowercase RFC 1123 subdomain';
  return [invalidValue(field, name, `${kind} holds lower case alphanumeric characters and '-' only`)];
}

function checkAnnotations({ annotations = {} }: Metadata): readonly Cause[] {
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations))
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  return [
    ...Object.keys(annotations).flatMap((key) =>
      checkQualifiedName('metadata.annotations', key.toLowerCase()),
    ),
    ...(bytes > mostAnnotationBytes
      ? [
          {
            type: 'FieldValueTooLong' as const,
            field: 'metadata.annotations',
            message: `Too long: may not be more than ${mostAnnotationBytes} bytes`,
          },
        ]
      : []),
  ];
}
