import { z } from 'zod';

const attributes = z.array(z.object({ baseName: z.string(), type: z.string() }));

/** Types of members, by the name of their type: `string`, `[V1Taint]` a list, `{string}` a map. */
export type Fields = Readonly<Record<string, Readonly<Record<string, string>>>>;

/**
 * What the models of @kubernetes/client-node say of these types and of all that they hold. The models are
 * generated from the description of Kubernetes' own API.
 */
export async function readClientFields(roots: readonly string[]): Promise<Fields> {
  const file = '@kubernetes/client-node/dist/gen/models/ObjectSerializer.js';
  const models = z.record(z.string(), z.unknown()).parse({ ...(await import(file)) });
  const found = new Map<string, Readonly<Record<string, string>>>();
  const waiting = [...roots];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const model = z.object({ attributeTypeMap: attributes }).safeParse(membersOf(models[name]));
    if (found.has(name) || !model.success) continue;
    const members = model.data.attributeTypeMap.map(({ baseName, type }) => [baseName, short(type)] as const);
    found.set(name, Object.fromEntries(members));
    waiting.push(...members.map(([, type]) => type.replace(/^[[{]|[\]}]$/g, '')));
  }
  return Object.fromEntries([...found].sort(([one], [other]) => (one < other ? -1 : 1)));
}

function membersOf(model: unknown): object {
  return typeof model === 'function' && 'attributeTypeMap' in model
    ? { attributeTypeMap: model.attributeTypeMap }
    : {};
}

function short(type: string): string {
  const list = /^Array<(.*)>$/.exec(type)?.[1];
  if (list !== undefined) return `[${short(list)}]`;
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  return map === undefined ? type : `{${short(map)}}`;
}
