import { limits } from '../../attest-server/wire/limits.ts';
import { isShownByIptables } from '../../attest-server/wire/shown-by-iptables.ts';
import { addressSentTo, type IsOwnAddress } from '../../attest-server/wire/stray-rules.ts';
import { NetfilterFault } from './netfilter-fault.ts';
import { type BaseChains, type NftRuleset, parseNftRuleset } from './nft-ruleset.ts';
import { readOwnAddresses } from './own-addresses.ts';
import { OwnedSum } from './owned-rules.ts';
import { parseSavedTables, type SavedTables } from './saved-tables.ts';
import { hasNoNfTables, legacyTables, type Netns, outputOf } from './tools.ts';
import { isUnprintable, savedWithout } from './unprintable-rules.ts';

/** The rules of one network namespace, once. */
export interface FirewallListing {
  /** The part `firewall`. The same rules give the same bytes. */
  readonly bytes: Buffer;
  /** Its beginning, before what `owned` says: what is compared. From `RuleReader`, the same object while it is the same. */
  readonly compared: Buffer;
  /** Their rules are compared, whatever their names. */
  readonly baseChains: BaseChains;
  readonly hasLegacy: boolean;
}

/**
 * Lists all rules, and makes no table by that.
 * @throws NetfilterFault; never gives an empty ruleset for what could not be read
 */
export async function readRules(where: Netns, signal?: AbortSignal): Promise<FirewallListing> {
  try {
    return await readOnce(where, signal);
  } catch (error) {
    // Rules may change between two programs: what does not fit together is read once more.
    if (!(error instanceof NetfilterFault) || error.code !== 'hidden_rules') throw error;
    return readOnce(where, signal);
  }
}

/** As the form of the part has it. */
const mostOwned = 16_384;

async function readOnce(where: Netns, signal?: AbortSignal): Promise<FirewallListing> {
  const owned = new OwnedSum();
  const ownAddresses = await readOwnAddresses(where, signal);
  const isOwn = ownAddresses ?? (() => false);
  const leavingOut = { owned, isOwn };
  const [listed, legacyIp, legacyIp6] = await Promise.all([
    listNft(where, signal),
    listLegacy(where, 'ip', leavingOut, signal),
    listLegacy(where, 'ip6', leavingOut, signal),
  ]);
  const ruleset = listed === null ? null : parseNftRuleset(listed, owned, isOwn);
  const [ofIp, ofIp6] = [
    await listIptables(where, 'ip', ruleset, leavingOut, signal),
    await listIptables(where, 'ip6', ruleset, leavingOut, signal),
  ];
  const saved = { ip: ofIp.tables, ip6: ofIp6.tables };
  if (ruleset !== null) checkNothingHidden(ruleset, [saved.ip, saved.ip6]);
  const count = (ruleset?.rules ?? 0) + (legacyIp?.count ?? 0) + (legacyIp6?.count ?? 0);
  if (count > limits.rules.count)
    throw new NetfilterFault('too_many_rules', `${count} rules to compare: more than ${limits.rules.count}`);
  const rules = {
    version: 1,
    nft: ruleset === null ? null : withoutSaved(ruleset, [saved.ip, saved.ip6]),
    iptables: { ip: saved.ip?.text ?? null, ip6: saved.ip6?.text ?? null },
    legacy: { ip: legacyIp?.text ?? null, ip6: legacyIp6?.text ?? null },
  };
  const sent = JSON.stringify(rules);
  const isHeld = ownAddresses !== null && ofIp.isWhole && ofIp6.isWhole;
  const compared = isHeld ? `${sent.slice(0, -1)},"local":${JSON.stringify(ownIn(sent, isOwn))}}` : sent;
  const sums = owned.end();
  if (sums.length > mostOwned)
    throw new NetfilterFault('too_large', `${sums.length} chains of declared owners: more than ${mostOwned}`);
  const bytes = Buffer.from(`${compared.slice(0, -1)},"owned":${JSON.stringify(sums)}}`);
  if (bytes.length > limits.parts.firewall)
    throw new NetfilterFault(
      'too_large',
      `the ${count} rules take ${bytes.length} bytes: more than ${limits.parts.firewall}, which a server takes`,
    );
  return {
    bytes,
    compared: bytes.subarray(0, Buffer.byteLength(compared) - 1),
    baseChains: ruleset?.baseChains ?? new Map(),
    hasLegacy: legacyIp !== null || legacyIp6 !== null,
  };
}

interface OwnedRuleFilter {
  readonly owned: OwnedSum;
  readonly isOwn: IsOwnAddress;
}

/** Own addresses to which rules that are sent lead packets, as they write them: all others are nobody's affair. */
function ownIn(sent: string, isOwn: IsOwnAddress): readonly string[] {
  const found = new Set<string>();
  for (const [, saved, listed] of sent.matchAll(destinations)) {
    const address = saved === undefined ? listed : addressSentTo(saved);
    if (address != null && isOwn(address)) found.add(address);
  }
  return [...found].sort();
}

const destinations = /--to-destination ([^\s\\"]+)|"addr":(?:\{"concat":\[)?"([0-9a-f.:]+)"/g;

/** Null if the kernel has no nf_tables, which must be certain: nft may be missing, or fail for another reason. */
async function listNft(where: Netns, signal?: AbortSignal): Promise<string | null> {
  try {
    return await outputOf(where, 'nft', ['-j', 'list', 'ruleset'], signal);
  } catch (fault) {
    if (!(fault instanceof NetfilterFault)) throw fault;
    if (fault.code !== 'missing_program' && fault.code !== 'failed') throw fault;
    if (await hasNoNfTables(where, signal)) return null;
    if (fault.code === 'failed') throw fault;
    throw new NetfilterFault(
      'unproven',
      `nft is not installed, and the kernel has nf_tables: rules may be there that nothing shows (${fault.message})`,
      fault,
    );
  }
}

/**
 * Tables are null if no table of nf_tables has a name of iptables: its program is not started then. They are not
 * whole where chains of declared owners were not printed.
 */
async function listIptables(
  where: Netns,
  family: 'ip' | 'ip6',
  ruleset: NftRuleset | null,
  { owned, isOwn }: OwnedRuleFilter,
  signal?: AbortSignal,
): Promise<{ readonly tables: SavedTables | null; readonly isWhole: boolean }> {
  if (ruleset === null || ruleset.iptables[family].size === 0) return { tables: null, isWhole: true };
  let isWhole = true;
  const program = family === 'ip' ? 'iptables-nft-save' : 'ip6tables-nft-save';
  const text = await outputOf(where, program, [], signal).catch((fault: unknown) => {
    if (!(fault instanceof NetfilterFault)) throw fault;
    // nft itself shows these rules as a whole.
    const isOfNft = ruleset.hidden.size === 0;
    isWhole = false;
    if (fault.code === 'missing_program' && isOfNft) return null;
    if (isUnprintable(fault)) return savedWithout(where, family, ruleset, signal);
    throw fault;
  });
  const tables = text === null ? null : parseSavedTables(text, 'iptables', family, owned, isOwn);
  return { tables, isWhole };
}

/** Null if there is no such table. */
async function listLegacy(
  where: Netns,
  family: 'ip' | 'ip6',
  { owned, isOwn }: OwnedRuleFilter,
  signal?: AbortSignal,
): Promise<SavedTables | null> {
  const names = await legacyTables(where, family, signal);
  if (names.length === 0) return null;
  const program = family === 'ip' ? 'iptables-legacy-save' : 'ip6tables-legacy-save';
  const saved = parseSavedTables(await outputOf(where, program, [], signal), 'legacy', family, owned, isOwn);
  const unsaved = names.find((name) => !saved.tables.has(name));
  if (unsaved !== undefined)
    throw new NetfilterFault('malformed', `${program} wrote nothing of the table ${unsaved}`);
  return saved;
}

/** Without the rules of chains of which iptables-save says all: the server takes them from there. */
function withoutSaved(
  { members, rulesOf }: NftRuleset,
  saved: readonly (SavedTables | null)[],
): readonly unknown[] {
  const left = new Set<unknown>();
  for (const [key, rules] of rulesOf) {
    const lines = saved.map((tables) => tables?.rules.get(key)).find((found) => found !== undefined);
    if (lines?.length !== rules.length) continue;
    if (rules.every(({ expr }, index) => isShownByIptables(expr, lines[index] ?? '')))
      for (const { member } of rules) left.add(member);
  }
  return members.filter((member) => !left.has(member));
}

/** Each chain that nft shows in part must be one that iptables shows as a whole. */
function checkNothingHidden(ruleset: NftRuleset, saved: readonly (SavedTables | null)[]): void {
  for (const [key, rules] of ruleset.hidden) {
    if (saved.some((tables) => tables?.rules.get(key)?.length === rules)) continue;
    throw new NetfilterFault(
      'hidden_rules',
      `chain ${key.split('\0').join(' ')} has rules of xtables that no program shows as a whole`,
    );
  }
}
