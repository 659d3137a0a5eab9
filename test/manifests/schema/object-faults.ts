import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
} from '../../../swtpm-fixtures/api-server/json.ts';
import { checkStructure } from '../../../swtpm-fixtures/api-server/schema-structure.ts';
import { checkSchema, conform } from '../../../swtpm-fixtures/api-server/structural-schema.ts';
import { faultsOfType } from './kubernetes-object.ts';
import { kubernetesKinds } from './kubernetes-types.ts';
import { monitoringSchemas } from './monitoring-resources.ts';

/**
 * What an API server of any version since 1.30 would refuse of an object, and unknown members, each as `KIND NAME.PATH: what`.
 * Its kind has to be known: one of Kubernetes', one that a definition among `all` makes, or one of the Prometheus operator.
 */
export function faultsOfObject(object: JsonObject, all: readonly JsonObject[]): readonly string[] {
  const [apiVersion = '?', kind = '?'] = [textAt(object, 'apiVersion'), textAt(object, 'kind')];
  const title = `${kind} ${textAt(object, 'metadata', 'name') ?? '?'}`;
  const type = kubernetesKinds[`${apiVersion} ${kind}`];
  if (type !== undefined) {
    return [
      ...faultsOfType(object, type, title),
      ...faultsOfMetadata(object, title),
      ...(kind === 'CustomResourceDefinition' ? faultsOfDefinition(object, title) : []),
    ];
  }
  const schema = schemaOf(apiVersion, kind, all);
  if (schema === undefined) return [`${title}: nobody knows a ${kind} of ${apiVersion}`];
  const unknown: string[] = [];
  conform(object, schema, '', unknown, true);
  return [
    ...unknown.map((path) => `${title}.${path}: no member of ${kind}`),
    ...checkSchema(object, schema, '').map(({ field, message }) => `${title}.${field}: ${message}`),
    ...faultsOfType(at(object, 'metadata') ?? null, 'V1ObjectMeta', `${title}.metadata`),
    ...faultsOfMetadata(object, title),
  ];
}

function schemaOf(apiVersion: string, kind: string, all: readonly JsonObject[]): Json | undefined {
  if (apiVersion === 'monitoring.coreos.com/v1') return monitoringSchemas[kind];
  const [group, version] = apiVersion.split('/');
  const definition = all.find(
    (one) =>
      textAt(one, 'kind') === 'CustomResourceDefinition' &&
      textAt(one, 'spec', 'group') === group &&
      textAt(one, 'spec', 'names', 'kind') === kind,
  );
  const its = listAt(definition, 'spec', 'versions').find((one) => textAt(one, 'name') === version);
  return at(its, 'schema', 'openAPIV3Schema');
}

function faultsOfMetadata(object: JsonObject, title: string): readonly string[] {
  const name = textAt(object, 'metadata', 'name');
  const isLegal = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
  const mayColon = /^(Cluster)?Role(Binding)?$/.test(textAt(object, 'kind') ?? '');
  if (name === undefined) return [`${title}.metadata.name: is missing`];
  if (!isLegal.test(mayColon ? name.replaceAll(':', '-') : name))
    return [`${title}.metadata.name: is no name of an object`];
  return [];
}

function faultsOfDefinition(definition: JsonObject, title: string): readonly string[] {
  const versions = listAt(definition, 'spec', 'versions');
  const faults = versions.flatMap((version) => {
    const path = `${title}.spec.versions[${textAt(version, 'name')}].schema.openAPIV3Schema`;
    const schema = at(version, 'schema', 'openAPIV3Schema');
    return checkStructure(schema, path).map(({ field, message }) => `${field}: ${message}`);
  });
  const stored = versions.filter((version) => isObject(version) && version.storage === true);
  if (stored.length !== 1)
    faults.push(`${title}.spec.versions: ${stored.length} are stored, where one is to be`);
  const { plural, group } = {
    plural: textAt(definition, 'spec', 'names', 'plural'),
    group: textAt(definition, 'spec', 'group'),
  };
  if (textAt(definition, 'metadata', 'name') !== `${plural}.${group}`)
    faults.push(`${title}.metadata.name: is not PLURAL.GROUP`);
  return faults;
}
