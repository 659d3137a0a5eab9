import type { JsonObject } from './json.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';

const root = '/openapi/v3';

/**
 * As much of the description of the API as kubectl reads before it sends an object: that each type knows the
 * parameter `fieldValidation`. Null where there is nothing.
 */
export function describeApi(path: string, types: readonly ResourceType[]): JsonObject | null {
  const its = (groupVersion: string) => types.filter((type) => pathOf(type) === groupVersion);
  if (path === root) {
    const paths = [...new Set(types.map(pathOf))].sort();
    return {
      paths: Object.fromEntries(paths.map((name) => [name, { serverRelativeURL: `${root}/${name}?hash=0` }])),
    };
  }
  if (!path.startsWith(`${root}/`)) return null;
  const found = its(path.slice(root.length + 1));
  if (found.length === 0) return null;
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'v1.33.0' },
    paths: Object.fromEntries(
      found.map((type) => [`/${pathOf(type)}/${inPath(type)}`, { patch: patchOf(type) }]),
    ),
    components: { schemas: {} },
  };
}

function pathOf(type: ResourceType): string {
  return type.group === '' ? `api/${type.version}` : `apis/${apiVersionOf(type)}`;
}

function inPath({ namespaced, plural }: ResourceType): string {
  return `${namespaced ? 'namespaces/{namespace}/' : ''}${plural}/{name}`;
}

function patchOf({ group, version, kind }: ResourceType): JsonObject {
  return {
    parameters: ['dryRun', 'fieldManager', 'fieldValidation', 'force'].map((name) => ({
      ...{ name, in: 'query', schema: { type: 'string', uniqueItems: true } },
    })),
    responses: { '200': { description: 'OK' } },
    'x-kubernetes-action': 'patch',
    'x-kubernetes-group-version-kind': { group, version, kind },
  };
}
