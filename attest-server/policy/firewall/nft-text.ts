import { fields, type JsonObject } from './json-object.ts';

/** Statements of a rule as `nft list ruleset` writes them, as far as it takes to be read by a person. */
export function shownStatements(statements: readonly JsonObject[]): string {
  return statements.map(statementText).join(' ');
}

export function shownElement(value: unknown): string {
  if (Array.isArray(value) && value.length === 2) return `${valueText(value[0])} : ${shownVerdict(value[1])}`;
  return valueText(value);
}

function statementText(statement: JsonObject): string {
  const [key = ''] = Object.keys(statement);
  const value = statement[key];
  const own = fields(value);
  switch (key) {
    case 'match': {
      const op = own.op === '==' || own.op === 'in' ? '' : `${String(own.op)} `;
      return `${valueText(own.left)} ${op}${valueText(own.right)}`;
    }
    case 'vmap':
      return `${valueText(own.key)} vmap ${valueText(own.data)}`;
    case 'comment':
      return `comment ${JSON.stringify(value)}`;
    case 'counter':
      return `counter name ${JSON.stringify(value)}`;
    case 'reject':
      return value === null
        ? 'reject'
        : `reject with ${String(own.type)}${own.expr === undefined ? '' : ` ${String(own.expr)}`}`;
    case 'mangle':
      return `${valueText(own.key)} set ${valueText(own.value)}`;
    case 'xt':
      return `xt ${String(own.type)} ${String(own.name)}`;
    default:
      return shownVerdict(statement);
  }
}

function shownVerdict(value: unknown): string {
  const own = fields(value);
  const keys = Object.keys(own);
  const [key = ''] = keys;
  if (keys.length !== 1) return valueText(value);
  if (own[key] === null) return key;
  const target = fields(own[key]).target;
  if (typeof target === 'string') return `${key} ${target}`;
  return `${key} ${typeof own[key] === 'string' ? own[key] : JSON.stringify(own[key])}`;
}

function valueText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(valueText).join(',');
  const own = fields(value);
  const keys = Object.keys(own);
  const [key = ''] = keys;
  if (keys.length !== 1) return JSON.stringify(value) ?? '';
  const inner = fields(own[key]);
  switch (key) {
    case 'meta':
      return plainMeta.has(inner.key) ? String(inner.key) : `meta ${String(inner.key)}`;
    case 'ct':
      return `ct ${inner.dir === undefined ? '' : `${String(inner.dir)} `}${String(inner.key)}`;
    case 'payload':
      if (inner.protocol === undefined) return JSON.stringify(value);
      return `${withinTunnel(inner)}${String(inner.protocol)} ${String(inner.field)}`;
    case 'prefix':
      return `${valueText(inner.addr)}/${String(inner.len)}`;
    case 'range':
      return Array.isArray(own.range) ? own.range.map(valueText).join('-') : JSON.stringify(value);
    case 'concat':
      return Array.isArray(own.concat) ? own.concat.map(valueText).join(' . ') : JSON.stringify(value);
    case 'set':
      return Array.isArray(own.set) ? `{ ${own.set.map(shownElement).join(', ')} }` : JSON.stringify(value);
    default:
      return JSON.stringify(value);
  }
}

/** `vxlan `; nft says `vxlan vni` once. */
function withinTunnel({ tunnel, protocol }: JsonObject): string {
  return tunnel === undefined || tunnel === protocol ? '' : `${String(tunnel)} `;
}

const plainMeta: ReadonlySet<unknown> = new Set(['iif', 'oif', 'iifname', 'oifname', 'skuid', 'skgid']);
