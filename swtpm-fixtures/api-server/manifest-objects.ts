import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { isObject, type JsonObject, textAt } from './json.ts';

const manifests = join(import.meta.dirname, '..', '..', 'manifests', 'base');

/** Those that are no programs, in an order in which they can be made. */
export const manifestFiles = [
  'namespaces.yaml',
  ...['crds/nodeattestations.yaml', 'crds/assaylatches.yaml'],
  ...['rbac/server.yaml', 'rbac/agent.yaml', 'rbac/people.yaml'],
  ...['admission/marks.yaml', 'admission/latch.yaml', 'admission/attestations.yaml'],
] as const;

/** The objects of a file below manifests/base/. */
export function objectsOf(file: string): readonly JsonObject[] {
  const documents = parseAllDocuments(readFileSync(join(manifests, file), 'utf8'));
  return documents.map((document) => {
    const [fault] = document.errors;
    if (fault !== undefined) throw fault;
    const object: unknown = document.toJS();
    if (!isObject(object)) throw new Error(`${file} holds what is no object`);
    return object;
  });
}

/** Kinds of the manifests, and of what tests make besides: the plural, and whether they are in a namespace. */
const kinds: Readonly<Record<string, readonly [plural: string, namespaced: boolean]>> = {
  Namespace: ['namespaces', false],
  Node: ['nodes', false],
  Pod: ['pods', true],
  ServiceAccount: ['serviceaccounts', true],
  Role: ['roles', true],
  RoleBinding: ['rolebindings', true],
  ClusterRole: ['clusterroles', false],
  ClusterRoleBinding: ['clusterrolebindings', false],
  CustomResourceDefinition: ['customresourcedefinitions', false],
  ValidatingAdmissionPolicy: ['validatingadmissionpolicies', false],
  ValidatingAdmissionPolicyBinding: ['validatingadmissionpolicybindings', false],
};

/** Where objects of its kind are. */
export function collectionOf(object: JsonObject): string {
  const apiVersion = textAt(object, 'apiVersion') ?? '';
  const [plural, namespaced] = kinds[textAt(object, 'kind') ?? ''] ?? [];
  if (plural === undefined) throw new Error(`a kind that is not known here: ${textAt(object, 'kind')}`);
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const namespace = textAt(object, 'metadata', 'namespace');
  if (namespaced !== (namespace !== undefined))
    throw new Error(`${nameOf(object)} has ${namespace === undefined ? 'no' : 'a'} namespace`);
  return namespaced ? `${base}/namespaces/${namespace}/${plural}` : `${base}/${plural}`;
}

export function pathOf(object: JsonObject): string {
  return `${collectionOf(object)}/${nameOf(object)}`;
}

export function nameOf(object: JsonObject): string {
  return textAt(object, 'metadata', 'name') ?? '';
}
