import { pruneBuiltin } from './builtin-fields.ts';
import { isEqual, isObject, type Json, type KubeObject } from './json.ts';
import type { Strategy } from './resource-type.ts';
import { badRequest, type Cause, forbiddenField, invalidValue, tooLong } from './status.ts';

const mostBytes = 1024 * 1024;
const base64 = /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Core/v1 ConfigMap, on top of how plain objects are kept. */
export function configMapStrategy(plain: Strategy): Strategy {
  return {
    ...plain,
    prune(object) {
      const pruned = pruneBuiltin(object, '', 'ConfigMap');
      for (const text of Object.values(members(pruned.object.binaryData))) {
        if (typeof text !== 'string' || !base64.test(text)) {
          throw badRequest('ConfigMap in version "v1" cannot be handled as a ConfigMap: illegal base64 data');
        }
      }
      return pruned;
    },
    validate: (object, old) => [...checkData(object), ...(old === null ? [] : checkImmutable(object, old))],
  };
}

function checkData(object: KubeObject): readonly Cause[] {
  const [data, binaryData] = [members(object.data), members(object.binaryData)];
  const keys = (field: string, its: Readonly<Record<string, Json>>) =>
    Object.keys(its)
      .filter((key) => !/^[-._a-zA-Z0-9]{1,253}$/.test(key) || key === '.' || key.startsWith('..'))
      .map((key) => invalidValue(`${field}[${key}]`, key, 'a valid config key is made of A-Z a-z 0-9 - _ .'));
  let bytes = 0;
  for (const text of Object.values(data)) bytes += Buffer.byteLength(String(text));
  for (const text of Object.values(binaryData)) bytes += Buffer.byteLength(String(text), 'base64');
  return [
    ...keys('data', data),
    ...Object.keys(data)
      .filter((key) => Object.hasOwn(binaryData, key))
      .map((key) => invalidValue(`data[${key}]`, key, 'duplicate of key present in binaryData')),
    ...keys('binaryData', binaryData),
    // So the real one names the whole object.
    ...(bytes > mostBytes ? [tooLong('[]', mostBytes)] : []),
  ];
}

function checkImmutable(object: KubeObject, old: KubeObject): readonly Cause[] {
  if (old.immutable !== true) return [];
  const fields = ['data', 'binaryData'].filter((name) => !isEqual(members(object[name]), members(old[name])));
  return [...(object.immutable === true ? [] : ['immutable']), ...fields].map((field) =>
    forbiddenField(field, 'field is immutable when `immutable` is set'),
  );
}

function members(value: Json | undefined): Readonly<Record<string, Json>> {
  return isObject(value) ? value : {};
}
