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
    case 'dnat':
    case 'snat':
      return translated(key, own) ?? shownVerdict(statement);
    case 'xt':
      return `xt ${String(own.type)} ${String(own.name)}`;
    default:
      return shownVerdict(statement);
  }
}

/** Null if it is more than an address and a port. */
function translated(
  key: string,
  { addr, port, family, type_flags: kind, ...others }: JsonObject,
): string | null {
  if (Object.keys(others).length > 0) return null;
  const to = family === undefined ? key : `${key} ${String(family)}`;
  if (kind === 'concat') return `${to} addr . port to ${valueText(addr)}`;
  if (kind !== undefined || typeof addr !== 'string') return null;
  const host = addr.includes(':') && port !== undefined ? `[${addr}]` : addr;
  return port === undefined ? `${to} to ${host}` : `${to} to ${host}:${valueText(port)}`;
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
  if (typeof value === 'string') return plainWord.test(value) ? value : JSON.stringify(value);
  if (typeof value === 'number') return String(value);
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
    case 'fib':
      return `fib ${valueText(inner.flags)} ${String(inner.result)}`;
    case '&':
    case '|':
    case '^': {
      const sides: unknown = own[key];
      return Array.isArray(sides) ? sides.map(valueText).join(` ${key} `) : JSON.stringify(value);
    }
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

/** Any other is put in quotation marks: it must not read as more words than one. */
const plainWord = /^[\w.:/@*+-]+$/;

/** `vxlan `; nft says `vxlan vni` once. */
function withinTunnel({ tunnel, protocol }: JsonObject): string {
  return tunnel === undefined || tunnel === protocol ? '' : `${String(tunnel)} `;
}

const plainMeta: ReadonlySet<unknown> = new Set(['iif', 'oif', 'iifname', 'oifname', 'skuid', 'skgid']);
