import { isHostChain, ownerOfChain, ownerOfTable } from '../../attest-server/wire/owned-chains.ts';
import { type BaseChains, chainKey, hookOf } from './nft-ruleset.ts';

/**
 * Whether a line of `nft -j monitor` names something that is compared. One that cannot be read does.
 * @param baseChains that the last listing showed: their rules are compared, whatever their names
 */
export function concernsCompared(line: string, baseChains: BaseChains): boolean {
  const about = aboutOf(line);
  if (about === null) return true;
  const { verb, kind, family, table, chain, hook } = about;
  // That a table is there is compared even where its rules are not.
  if (kind === 'table' || table === null) return true;
  const before = chain === null ? undefined : baseChains.get(chainKey(family, table, chain));
  if (kind === 'rule' && chain !== null && isHostChain(family, table, chain)) return true;
  if (ownerOfTable(family, table) !== null) {
    if (kind !== 'chain' || chain === null) return kind === 'chain';
    if (hook === null && isHostChain(family, table, chain)) return true;
    // kube-proxy rewrites its hooks with each full sync: the same are no change.
    return hook === null ? before !== undefined : verb !== 'add' || hook !== before;
  }
  return (
    chain === null || hook !== null || before !== undefined || ownerOfChain(family, table, chain) === null
  );
}

interface RuleChange {
  readonly verb: string;
  readonly kind: string;
  readonly family: string;
  readonly table: string | null;
  /** The chain of a rule, or the chain itself. */
  readonly chain: string | null;
  /** As `hookOf` has it; null if it is no base chain. */
  readonly hook: string | null;
}

/** `{"add": {"rule": {"family", "table", "chain", …}}}` */
function aboutOf(line: string): RuleChange | null {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return null;
  }
  const object = onlyOf(event);
  const member = object === null ? null : onlyOf(object.value);
  if (object === null || member === null || !isValue(member.value)) return null;
  const { key: kind, value } = member;
  const text = (key: string): string | null => {
    const found = value[key];
    return typeof found === 'string' ? found : null;
  };
  return {
    verb: object.key,
    kind,
    family: text('family') ?? '',
    table: text('table'),
    chain: kind === 'rule' ? text('chain') : kind === 'chain' ? text('name') : null,
    hook: kind === 'chain' && 'hook' in value ? hookOf(value) : null,
  };
}

function isValue(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function onlyOf(value: unknown): { readonly key: string; readonly value: unknown } | null {
  const [entry, ...others] = isValue(value) ? Object.entries(value) : [];
  return entry === undefined || others.length > 0 ? null : { key: entry[0], value: entry[1] };
}
