import { type FirewallBaseline, type FirewallPart, nftOutput } from '../../wire/firewall.ts';
import { limits } from '../../wire/limits.ts';
import { declaredChain, isHostChain, ownerOfChain, ownerOfTable } from '../../wire/owned-chains.ts';
import { parseJson } from '../../wire/parse-json.ts';
import { Rejection } from '../../wire/rejection.ts';
import { isShownByIptables } from '../../wire/shown-by-iptables.ts';
import { isStrayLine, isStrayRule } from '../../wire/stray-rules.ts';
import { withoutPolicies } from './host-endpoint.ts';
import { parseIptablesSave, parseSavedRule, type SavedTable } from './iptables-save.ts';
import { fields } from './json-object.ts';
import { elementsIn, type NftChain, type NftTable, parseNft, parseNftRule } from './nft-json.ts';
import {
  type Chain,
  chainKey,
  type Family,
  type NamedObject,
  objectKey,
  type Rule,
  type Ruleset,
} from './ruleset.ts';

type PrintedRules = Pick<FirewallPart, 'nft' | 'iptables' | 'legacy' | 'local'>;

/**
 * The rules of a node in one model. Tables that iptables-save shows are taken from there, and nft's word on them counts
 * only where it has more.
 * @throws Rejection `malformed` with the field, `too_large`
 */
export function rulesetOf({ nft, iptables, legacy, local }: PrintedRules): Ruleset {
  checkSize({ nft, iptables, legacy });
  const chains: Chain[] = [];
  const objects: NamedObject[] = [];
  const tables = parseNft(nft ?? []);
  const own = local === undefined ? null : new Set(local);
  const shown = new Set<string>();
  for (const family of ['ip', 'ip6'] as const) {
    const saved = parseSaved(iptables[family], `firewall.iptables.${family}`, family);
    const old = parseSaved(legacy[family], `firewall.legacy.${family}`, family);
    if (saved.besideLegacy && legacy[family] === null)
      throw new Rejection('malformed', `firewall field legacy.${family}: tables that exist were not listed`, {
        field: `firewall.legacy.${family}`,
      });
    for (const table of saved.tables) {
      if (saved.notShown.has(table.name)) continue;
      const beside = tables.get(`${family} ${table.name}`) ?? null;
      shown.add(`${family} ${table.name}`);
      for (const chain of table.chains)
        chains.push(chainFrom('iptables', family, table.name, withNft(withHook(chain, beside), beside), own));
      if (beside !== null) chains.push(...unshown(beside, table, own));
    }
    for (const table of old.tables)
      for (const chain of table.chains) chains.push(chainFrom('legacy', family, table.name, chain, own));
  }
  for (const table of tables.values()) {
    const { family, name } = table;
    if (table.dormant) objects.push(dormantTable(table));
    objects.push(...table.objects);
    if (shown.has(`${family} ${name}`)) continue;
    for (const chain of table.chains.values())
      chains.push(chainFrom('nft', family, name, table.dormant ? { ...chain, base: null } : chain, own));
  }
  return ordered(chains, objects, own);
}

/** Attack: a part full of the shortest rules and chains, each of which costs more than it takes. Before anything is made. */
function checkSize({ nft, iptables, legacy }: PrintedRules): void {
  let rules = 0;
  let chains = 0;
  let others = 0;
  for (const member of nft ?? []) {
    if ('rule' in member) rules++;
    else if ('chain' in member) chains++;
    else others++;
  }
  for (const text of [iptables.ip, iptables.ip6, legacy.ip, legacy.ip6]) {
    for (let at = 0; text !== null && at >= 0 && at < text.length; at = text.indexOf('\n', at) + 1 || -1)
      if (text[at] === ':') chains++;
      else if (text[at] === '-' || text[at] === '[') rules++;
  }
  for (const [what, count, most] of [
    ['rules', rules, limits.rules.count],
    ['chains', chains, limits.rules.chains],
    ['named objects', others, limits.rules.objects],
  ] as const)
    if (count > most)
      throw new Rejection('too_large', `firewall: ${count} ${what}, and ${most} are read at most`, {
        field: 'firewall',
      });
}

/** @throws Rejection `malformed`, `too_large` */
export function rulesetOfBaseline(baseline: FirewallBaseline): Ruleset {
  if ('chains' in baseline) return rulesetOfCaptured(baseline);
  const { nft } = baseline;
  return rulesetOf({
    nft: nft === undefined ? [] : parseJson(nft, nftOutput, 'reference', 'firewall.nft').nftables,
    iptables: { ip: baseline['iptables-save'] ?? null, ip6: baseline['ip6tables-save'] ?? null },
    legacy: { ip: baseline['iptables-legacy-save'] ?? '', ip6: baseline['ip6tables-legacy-save'] ?? '' },
  });
}

/** Chains and objects that are compared: what a declared owner rewrites all the time, and by policies, is not. */
export function comparedOf({ chains, objects, local }: Ruleset): Ruleset {
  const compared = new Map<string, Chain>();
  for (const [key, chain] of chains) {
    const of = chain.owner === null ? withoutPolicies(withoutPods(chain)) : strayOf(chain, local);
    if (of !== null) compared.set(key, of);
  }
  const named = [...objects].filter(([, { owner }]) => owner === null);
  return { chains: compared, objects: new Map(named), local };
}

/** Rules that a chain's owner would not write are nobody's; null if all are its. */
function strayOf(chain: Chain, local: Ruleset['local']): Chain | null {
  const { owner } = chain;
  if (owner === null) return chain;
  const rules = chain.rules.filter((rule) => isStray({ ...chain, owner }, rule, local));
  return rules.length === 0 ? null : { ...chain, owner: null, rules };
}

function isStray(
  { owner, family, table, name }: Pick<Chain, 'family' | 'table' | 'name'> & { readonly owner: string },
  { text }: Rule,
  local: Ruleset['local'],
): boolean {
  const isOwn = (address: string) => local?.has(address) === true;
  if (!text.startsWith('[')) return isStrayLine({ owner, family, table }, text, isOwn);
  const statements: unknown = JSON.parse(text);
  if (isStrayRule({ owner, chain: name }, statements, isOwn)) return true;
  // Beside nft's word stands the line of iptables.
  const saved = Array.isArray(statements) ? fields(statements.at(-1)).iptables : null;
  return typeof saved === 'string' && isStrayLine({ owner, family, table }, saved, isOwn);
}

/** A baseline that `rulesetOfBaseline` reads again as the same rules. */
export function capturedOf(ruleset: Ruleset): FirewallBaseline {
  const { chains, objects } = comparedOf(ruleset);
  return {
    chains: [...chains.values()].map(({ kind, family, table, name, base, rules }) => ({
      kind,
      family,
      table,
      name,
      base: base === null ? null : { ...base, devices: [...base.devices] },
      rules: rules.map(({ text }) => text),
    })),
    objects: [...objects.values()].map(({ owner: _owner, ...object }) => ({
      ...object,
      elements: [...object.elements],
    })),
  };
}

type CapturedBaseline = Extract<FirewallBaseline, { readonly chains: unknown }>;

function rulesetOfCaptured(baseline: CapturedBaseline): Ruleset {
  const objects = baseline.objects.map((object): NamedObject => ({ ...object, owner: null }));
  const sets = new Map(
    objects
      .filter(({ type }) => type === 'set' || type === 'map')
      .map((object) => [`${object.family} ${object.table} ${object.name}`, elementsIn(object)]),
  );
  const names = new Set(baseline.chains.map(chainKey));
  const chains = baseline.chains.map(({ rules, ...chain }): Chain => {
    const { kind, family, table } = chain;
    const isChain = (name: string) =>
      names.has(chainKey({ kind, family, table, name })) || declaredChain(family, table, name) !== null;
    return {
      ...chain,
      owner: null,
      rules: rules.map((text) =>
        kind === 'nft' || text.startsWith('[')
          ? parseNftRule(text, (name) => sets.get(`${family} ${table} ${name}`) ?? null)
          : parseSavedRule(text, chain.name, isChain),
      ),
    };
  });
  return ordered(chains, objects, null);
}

function parseSaved(text: string | null, field: string, family: 'ip' | 'ip6') {
  return parseIptablesSave(text ?? '', field, (table, chain) => declaredChain(family, table, chain) !== null);
}

function chainFrom(
  kind: Chain['kind'],
  family: Family,
  table: string,
  { name, base, rules }: NftChain | SavedTable['chains'][number],
  local: Ruleset['local'],
): Chain {
  const owner = base === null ? ownerOf(kind, family, table, name) : null;
  // Of a table that is one owner's alone, agents send what its base chains are, and of rules those of the host and strays.
  const whole = kind === 'nft' && !isHostChain(family, table, name) ? ownerOfTable(family, table) : null;
  const sent =
    whole === null
      ? rules
      : rules.filter((rule) => isStray({ owner: whole, family, table, name }, rule, local));
  return { kind, family, table, name, base, rules: sent, owner };
}

/** The program that owns a chain which it writes by rule, but never a hook of the kernel. */
function ownerOf(kind: Chain['kind'], family: Family, table: string, chain: string): string | null {
  if (isHostChain(family, table, chain)) return null;
  return ownerOfChain(family, table, chain)?.owner ?? (kind === 'nft' ? ownerOfTable(family, table) : null);
}

/** True if nobody can reach a base chain of the table: iptables-save does not show that. */
function withHook(
  chain: SavedTable['chains'][number],
  beside: NftTable | null,
): SavedTable['chains'][number] {
  return beside?.dormant === true ? { ...chain, base: null } : chain;
}

/** Rules in which nft shows more than iptables-save: nft's word on them is compared, and says what they do. */
function withNft(chain: SavedTable['chains'][number], beside: NftTable | null): SavedTable['chains'][number] {
  const shown = beside?.chains.get(chain.name)?.rules ?? [];
  // An agent leaves out the rules of a chain that iptables-save shows as a whole.
  if (beside === null || shown.length !== chain.rules.length) return chain;
  const rules = chain.rules.map((saved, index) => {
    const rule = shown[index];
    const statements: unknown = rule === undefined ? [] : JSON.parse(rule.text);
    if (rule === undefined || isShownByIptables(statements, saved.text)) return saved;
    if (!Array.isArray(statements) || !rule.text.includes('"xt"')) return rule;
    // Of an extension nft knows the name alone: the rest is iptables' to say.
    return parseNftRule(JSON.stringify([...statements, { iptables: saved.text }]), beside.values);
  });
  return { ...chain, rules };
}

/** Chains of a table of iptables in which nft shows more than iptables-save does, or another hook or policy. */
function unshown(table: NftTable, saved: SavedTable, local: Ruleset['local']): readonly Chain[] {
  const known = new Map(saved.chains.map((chain) => [chain.name, chain]));
  const more: Chain[] = [];
  for (const chain of table.chains.values()) {
    const other = known.get(chain.name);
    const owner = chain.base === null ? ownerOfChain(table.family, table.name, chain.name) : null;
    // Of an owned chain counts what iptables has no words for.
    const isOwned = owner !== null && !hasStray(chain, table, owner.owner, local);
    if (
      isOwned ||
      (owner === null &&
        other !== undefined &&
        (chain.rules.length === 0 || chain.rules.length === other.rules.length) &&
        hasHookOf(chain, other))
    )
      continue;
    more.push(
      chainFrom('nft', table.family, table.name, table.dormant ? { ...chain, base: null } : chain, local),
    );
  }
  return more;
}

function hasStray(
  { name, rules }: NftChain,
  table: NftTable,
  owner: string,
  local: Ruleset['local'],
): boolean {
  const at = { owner, family: table.family, table: table.name, name };
  return rules.some((rule) => isStray(at, rule, local));
}

function hasHookOf({ base }: NftChain, { base: other }: SavedTable['chains'][number]): boolean {
  return base?.hook === other?.hook && base?.priority === other?.priority && base?.policy === other?.policy;
}

function dormantTable({ family, name }: NftTable): NamedObject {
  return {
    family,
    table: name,
    type: 'table',
    name,
    head: '{"flags":["dormant"]}',
    elements: [],
    owner: null,
  };
}

/** Rules by which CNI's bridge plugin masquerades one pod: there is one for each address of a pod. */
function withoutPods(chain: Chain): Chain {
  if (chain.table !== 'nat' || chain.name !== 'POSTROUTING' || chain.base?.hook !== 'postrouting')
    return chain;
  if (!chain.rules.some(isOfPod)) return chain;
  return { ...chain, rules: chain.rules.filter((rule) => !isOfPod(rule)) };
}

/** As it writes them, and in no other form (pkg/ip and pkg/utils of its plugins, v1.1 to v1.9). */
const ofPod =
  /^-A POSTROUTING -s (?:[0-9.]+\/32|[0-9a-f:.]+\/128) -m comment --comment "name: \\"[\w.-]+\\" id: \\"[\w.*-]+\\"" -j CNI-[0-9a-f]{24}$/;

function isOfPod({ text }: Rule): boolean {
  return ofPod.test(text);
}

function ordered(
  chains: readonly Chain[],
  objects: readonly NamedObject[],
  local: Ruleset['local'],
): Ruleset {
  const byKey = (a: readonly [string, unknown], b: readonly [string, unknown]) => (a[0] < b[0] ? -1 : 1);
  const keyed = chains.map((chain) => [chainKey(chain), chain] as const).sort(byKey);
  const named = objects.map((object) => [objectKey(object), object] as const).sort(byKey);
  return { chains: new Map(keyed), objects: new Map(named), local };
}
