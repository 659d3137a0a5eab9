import type { Json, JsonObject } from './json.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';

export const version: JsonObject = {
  major: '1',
  minor: '33',
  emulationMajor: '1',
  emulationMinor: '33',
  minCompatibilityMajor: '1',
  minCompatibilityMinor: '32',
  gitVersion: 'v1.33.0-assay',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: 'linux/amd64',
};

/** Resources that are asked and never stored. */
export interface VirtualResource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
}

/** What there is at a path of discovery; null where there is nothing. */
export function discover(
  path: string,
  types: readonly ResourceType[],
  virtual: readonly VirtualResource[],
): JsonObject | null {
  const parts = path.split('/').filter((part) => part !== '');
  const versions = [
    ...new Set([...types, ...virtual].filter(({ group }) => group !== '').map(groupVersionOf)),
  ].sort();
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
  if (path === '/apis') {
    const groups = [...new Set(versions.map((text) => text.split('/')[0] ?? ''))];
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map((name) => groupOf(name, versions)) };
  }
  if (parts[0] === 'apis' && parts.length === 2) {
    const [, name = ''] = parts;
    if (!versions.some((text) => text.startsWith(`${name}/`))) return null;
    return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(name, versions) };
  }
  const groupVersion =
    path === '/api/v1' ? 'v1' : parts[0] === 'apis' && parts.length === 3 ? parts.slice(1).join('/') : '';
  const resources = [
    ...types.filter((type) => apiVersionOf(type) === groupVersion).flatMap(resourcesOf),
    ...virtual.filter((type) => groupVersionOf(type) === groupVersion).map(virtualResource),
  ];
  if (resources.length === 0) return null;
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources };
}

/** Subresources that something else is made by. */
const makers: Readonly<Record<string, JsonObject>> = {
  token: { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest', verbs: ['create'] },
  binding: { kind: 'Binding', verbs: ['create'] },
};

const storedVerbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

function resourcesOf({
  plural,
  singular,
  namespaced,
  kind,
  shortNames,
  subresources,
}: ResourceType): readonly Json[] {
  return [
    {
      ...{ name: plural, singularName: singular, namespaced, kind },
      // Namespaces go one by one.
      verbs: storedVerbs.filter((verb) => plural !== 'namespaces' || verb !== 'deletecollection'),
      ...(shortNames.length > 0 && { shortNames }),
    },
    ...subresources.map((name) => ({
      name: `${plural}/${name}`,
      singularName: '',
      namespaced,
      ...(makers[name] ?? { kind, verbs: name === 'finalize' ? ['update'] : ['get', 'patch', 'update'] }),
    })),
  ];
}

function virtualResource({ plural, kind }: VirtualResource): JsonObject {
  return { name: plural, singularName: kind.toLowerCase(), namespaced: false, kind, verbs: ['create'] };
}

function groupOf(name: string, versions: readonly string[]): JsonObject {
  const its = versions
    .filter((text) => text.startsWith(`${name}/`))
    .map((groupVersion) => ({ groupVersion, version: groupVersion.split('/')[1] ?? '' }));
  return { name, versions: its, ...(its[0] && { preferredVersion: its[0] }) };
}

function groupVersionOf({
  group,
  version: its,
}: {
  readonly group: string;
  readonly version: string;
}): string {
  return group === '' ? its : `${group}/${its}`;
}
