import { ownerOfChain, ownerOfTable } from '../../attest-server/protocol/owned-chains.ts';
import { chainKey } from './nft-ruleset.ts';

/**
 * Whether a line of `nft -j monitor` names something that is compared. One that cannot be read does.
 * @param baseChains that the last listing showed, by `chainKey`: their rules are compared, whatever their name
 */
export function concernsCompared(line: string, baseChains: ReadonlySet<string>): boolean {
  const about = aboutOf(line);
  if (about === null) return true;
  const { kind, family, table, chain, hasHook } = about;
  // That a table is there, and what hooks it has, is compared even where its rules are not.
  if (kind === 'table' || table === null || hasHook) return true;
  if (ownerOfTable(family, table) !== null)
    return kind === 'chain' && (chain === null || baseChains.has(chainKey(family, table, chain)));
  if (chain === null || ownerOfChain(family, table, chain) === null) return true;
  return baseChains.has(chainKey(family, table, chain));
}

interface About {
  readonly kind: string;
  readonly family: string;
  readonly table: string | null;
  /** Of a rule, or that it is. */
  readonly chain: string | null;
  readonly hasHook: boolean;
}

/** `{"add": {"rule": {"family", "table", "chain", …}}}` */
function aboutOf(line: string): About | null {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return null;
  }
  const object = onlyOf(event);
  const member = object === null ? null : onlyOf(object.value);
  if (member === null) return null;
  const { key: kind, value } = member;
  if (typeof value !== 'object' || value === null) return null;
  const family = 'family' in value && typeof value.family === 'string' ? value.family : '';
  const table = 'table' in value && typeof value.table === 'string' ? value.table : null;
  const named =
    kind === 'rule' ? 'chain' in value && value.chain : kind === 'chain' && 'name' in value && value.name;
  return { kind, family, table, chain: typeof named === 'string' ? named : null, hasHook: 'hook' in value };
}

function onlyOf(value: unknown): { readonly key: string; readonly value: unknown } | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const [entry, ...others] = Object.entries(value);
  return entry === undefined || others.length > 0 ? null : { key: entry[0], value: entry[1] };
}
