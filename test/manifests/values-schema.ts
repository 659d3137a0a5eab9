import { at, isObject, type Json, type JsonObject, listAt } from '../../swtpm-fixtures/api-server/json.ts';

/** The schemas of what the chart hands on as it is. */
interface Parts {
  readonly policy: JsonObject;
  readonly settings: JsonObject;
  /** Of the agent's configuration. */
  readonly agent: JsonObject;
}

/** Of the values, with the grammar of policies and settings of today. */
export function withParts(schema: JsonObject, { policy, settings, agent }: Parts): JsonObject {
  return within(schema, 'properties', (properties) => {
    const server = within(member(properties, 'server'), 'properties', (inner) => ({
      ...inner,
      settings: part(member(inner, 'settings'), settings),
    }));
    const agents = within(member(properties, 'agent'), 'properties', (inner) => ({
      ...inner,
      ...handedOn(agent),
      servers: { ...member(inner, 'servers'), items: addressOf(agent) },
    }));
    return { ...properties, policy: part(member(properties, 'policy'), policy), server, agent: agents };
  });
}

/** Settings of the agent that are values as they are. */
function handedOn(agent: JsonObject): JsonObject {
  const settings = member(agent, 'properties');
  return { watch: member(settings, 'watch'), logLevel: member(settings, 'logLevel') };
}

/** As an agent takes the address of a server: as an item of a list, or all in one text. */
function addressOf(agent: JsonObject): Json {
  const [list] = listAt(agent, 'properties', 'servers', 'anyOf');
  const items = at(list, 'items');
  if (items === undefined) throw new Error('an agent takes no list of servers');
  return items;
}

function part(before: JsonObject, schema: JsonObject): JsonObject {
  const { $schema, title, ...rest } = schema;
  return { description: before.description ?? '', ...forHelm(rest) };
}

/** Helm's expressions are those of Go (RE2), which has no look-around. The server looks at the rest. */
function forHelm(schema: JsonObject): JsonObject {
  const kept: Record<string, Json> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'pattern' && typeof value === 'string' && /\(\?<?[!=]/.test(value)) continue;
    if (isObject(value)) kept[key] = forHelm(value);
    else if (Array.isArray(value))
      kept[key] = value
        .map((one: Json) => (isObject(one) ? forHelm(one) : one))
        .filter((one) => !isObject(one) || Object.keys(one).length > 0);
    else kept[key] = value;
  }
  return kept;
}

/** Each key of the values with its default and meaning, as README.md of the chart has them. */
export function valuesTable(schema: JsonObject, values: JsonObject): string {
  const lines = rows(schema, values, '').map((cells) => `| ${cells.join(' | ')} |`);
  return ['| key | default | meaning |', '|---|---|---|', ...lines].join('\n');
}

function rows(schema: JsonObject, values: JsonObject, prefix: string): readonly (readonly string[])[] {
  return Object.entries(member(schema, 'properties')).flatMap(([key, of]) => {
    const name = `${prefix}${key}`;
    const value = values[key];
    if (!isObject(of) || value === undefined) return [];
    // Policies have a page of their own, and requests and limits are read together.
    const isWhole =
      name === 'policy' || Object.keys(Object(value)).length === 0 || 'requests' in Object(value);
    if (isObject(value) && !isWhole && of.properties !== undefined) return rows(of, value, `${name}.`);
    const shown = name === 'policy' ? 'one group `all` in `observe`' : `\`${JSON.stringify(value)}\``;
    return [[`\`${name}\``, shown, String(of.description ?? '').replaceAll('|', '\\|')]];
  });
}

function member(of: JsonObject, key: string): JsonObject {
  const value = of[key];
  if (!isObject(value)) throw new Error(`the schema has no ${key}`);
  return value;
}

function within(of: JsonObject, key: string, change: (inner: JsonObject) => JsonObject): JsonObject {
  return { ...of, [key]: change(member(of, key)) };
}
