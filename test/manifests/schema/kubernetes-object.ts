import { isList, isObject, type Json, type JsonObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { kubernetesFields, newerFields, requiredFields } from './kubernetes-types.ts';
import { alsoRequired, atMostOne, exactlyOne, listKeys, probeWays, words } from './kubernetes-words.ts';

/**
 * What is wrong with a value of one of Kubernetes' types: `PATH: what`. A member that the type does not have is a fault, as it is
 * for an API server that validates strictly.
 */
export function faultsOfType(value: Json, type: string, path: string): readonly string[] {
  if (value === null) return [`${path}: is null`];
  const inner = type.slice(1, -1);
  if (type.startsWith('[')) {
    if (!isList(value)) return [wrongType(value, 'a list', path)];
    return value.flatMap((item, index) => faultsOfType(item, inner, `${path}[${index}]`));
  }
  if (type.startsWith('{')) {
    if (!isObject(value)) return [wrongType(value, 'a map', path)];
    return Object.entries(value).flatMap(([name, item]) => [
      ...faultsOfName(name, path),
      ...faultsOfLabel(item, `${path}.${name}`),
      ...faultsOfType(item, isQuantities(path) ? 'quantity' : inner, `${path}.${name}`),
    ]);
  }
  const members = kubernetesFields[type];
  if (members === undefined) return faultsOfScalar(value, type, path);
  if (!isObject(value)) return [wrongType(value, `a ${type}`, path)];
  return [
    ...Object.entries(value).flatMap(([name, member]) => {
      const its = Object.hasOwn(members, name) ? members[name] : undefined;
      const at = `${path}.${name}`;
      if (its === undefined) return [`${at}: no member of ${type}`];
      if (newerFields.has(`${type}.${name}`)) return [`${at}: Kubernetes 1.30 does not know it`];
      return [...faultsOfType(member, its, at), ...faultsOfWords(member, `${type}.${name}`, at)];
    }),
    ...faultsOfMembers(value, type, path),
  ];
}

function faultsOfMembers(value: JsonObject, type: string, path: string): readonly string[] {
  const has = (name: string) => Object.hasOwn(value, name);
  const missing = [...(requiredFields.get(type) ?? []), ...(alsoRequired[type] ?? [])].filter(
    (name) => !has(name),
  );
  const faults = [...new Set(missing)].map((name) => `${path}.${name}: is missing`);
  const one = exactlyOne[type];
  if (one !== undefined) faults.push(...oneOf(one ?? Object.keys(value).filter((name) => name !== 'name')));
  if (type === 'V1Probe') faults.push(...oneOf(probeWays));
  const two = (atMostOne[type] ?? []).filter(has);
  if (two.length > 1) faults.push(`${path}: has both ${two.join(' and ')}`);
  return faults;

  function oneOf(names: readonly string[]): readonly string[] {
    const found = names.filter(has);
    return found.length === 1 ? [] : [`${path}: has ${found.join(' and ') || 'none'} where one is to be`];
  }
}

function faultsOfWords(value: Json, member: string, path: string): readonly string[] {
  const keys = listKeys[member];
  if (keys !== undefined && isList(value)) return faultsOfKeys(value, keys, path);
  const known = words[member];
  if (known === undefined) return [];
  const items = isList(value) ? value : [value];
  return items
    .filter((item) => typeof item !== 'string' || !known.includes(item))
    .map(
      (item) => `${path}: ${JSON.stringify(item)} is none of ${known.map((word) => word || '""').join(', ')}`,
    );
}

function faultsOfKeys(list: readonly Json[], keys: readonly string[], path: string): readonly string[] {
  const seen = new Set<string>();
  return list.flatMap((item, index) => {
    const key = keys.map((name) => (isObject(item) ? String(item[name] ?? '') : '')).join('/');
    if (seen.has(key)) return [`${path}[${index}]: a second ${key}`];
    seen.add(key);
    return [];
  });
}

function faultsOfScalar(value: Json, type: string, path: string): readonly string[] {
  switch (type) {
    case 'string':
      return typeof value === 'string' ? [] : [wrongType(value, 'a text', path)];
    case 'number':
      return typeof value === 'number' ? faultsOfNumber(value, path) : [wrongType(value, 'a number', path)];
    case 'boolean':
      return typeof value === 'boolean' ? [] : [wrongType(value, 'true or false', path)];
    case 'IntOrString':
      if (typeof value === 'string') return value === '' ? [`${path}: is empty`] : [];
      return Number.isInteger(value) ? [] : [wrongType(value, 'a whole number or a text', path)];
    case 'Date':
    case 'V1MicroTime':
      return typeof value === 'string' && !Number.isNaN(Date.parse(value))
        ? []
        : [wrongType(value, 'a time', path)];
    case 'quantity': {
      const text = typeof value === 'number' ? String(value) : value;
      const isQuantity = typeof text === 'string' && /^\d+(\.\d+)?([EPTGMK]i|[numkMGTPE]|e\d+)?$/.test(text);
      return isQuantity ? [] : [wrongType(value, 'a quantity', path)];
    }
    case 'any':
      return [];
    default:
      return [`${path}: nothing is known of its type ${type}`];
  }
}

function faultsOfNumber(value: number, path: string): readonly string[] {
  if (/\.(containerPort|hostPort|port|nodePort)$/.test(path) && (value < 1 || value > 65_535))
    return [`${path}: ${value} is no port`];
  return Number.isInteger(value) || /\.(maximum|minimum|multipleOf)$/.test(path)
    ? []
    : [wrongType(value, 'a whole number', path)];
}

/** Names and values of labels, names of annotations, names of keys in a ConfigMap. */
function faultsOfName(name: string, path: string): readonly string[] {
  if (/\.(labels|annotations|matchLabels|nodeSelector|selector)$/.test(path)) {
    const isLegal =
      /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
    return isLegal.test(name) ? [] : [`${path}: ${name} is no name of a label or annotation`];
  }
  if (/\.(data|binaryData|stringData)$/.test(path))
    return /^[-._a-zA-Z0-9]+$/.test(name) ? [] : [`${path}: ${name} is no name of a key`];
  return [];
}

function faultsOfLabel(value: Json, path: string): readonly string[] {
  if (!/\.(labels|matchLabels|nodeSelector|selector)\.[^.]*([./][^.]*)*$/.test(path)) return [];
  const isLegal = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
  return typeof value !== 'string' || isLegal.test(value) ? [] : [`${path}: ${value} is no value of a label`];
}

function isQuantities(path: string): boolean {
  return /\.(limits|requests|capacity|allocatable|hard)$/.test(path);
}

function wrongType(value: Json, wanted: string, path: string): string {
  return `${path}: must be ${wanted}, not ${JSON.stringify(value).slice(0, 60)}`;
}
