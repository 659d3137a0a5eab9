import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { NetfilterFault } from '../../../agent/netfilter/netfilter-fault.ts';
import { parseNftRuleset } from '../../../agent/netfilter/nft-ruleset.ts';
import { OwnedSum } from '../../../agent/netfilter/owned-rules.ts';
import { concernsCompared } from '../../../agent/netfilter/rule-event.ts';
import { parseSavedTables } from '../../../agent/netfilter/saved-tables.ts';
import { compareRulesets, shownDifferences } from '../../../attest-server/policy/firewall/compare.ts';
import { parseOpening } from '../../../attest-server/policy/firewall/opening.ts';
import { parseForm } from '../../../attest-server/policy/firewall/owners/form.ts';
import { parsePlace } from '../../../attest-server/policy/firewall/owners/owner.ts';
import { shippedOwners } from '../../../attest-server/policy/firewall/owners/shipped.ts';
import { withoutOwned } from '../../../attest-server/policy/firewall/owners/without-owned.ts';
import {
  capturedOf,
  comparedOf,
  rulesetOf,
  rulesetOfBaseline,
} from '../../../attest-server/policy/firewall/read-ruleset.ts';
import { parseRequirement } from '../../../attest-server/policy/firewall/requirement.ts';
import type { Ruleset } from '../../../attest-server/policy/firewall/ruleset.ts';
import { wayFinder } from '../../../attest-server/policy/firewall/walk.ts';
import { firewallBaseline, parseFirewallPart } from '../../../attest-server/wire/firewall.ts';
import { parseJson } from '../../../attest-server/wire/parse-json.ts';
import { FolderError, firewallPartOfFolder } from '../../recorded/firewall-folder.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isMember, isRejection } from './refusals.ts';

const nodes = 'swtpm-fixtures/recorded-nodes/firewall/*';
const root = join(import.meta.dirname, '../../..');

const parts = (
  await Promise.all(
    globSync(`${nodes}/nft.json`, { cwd: root })
      .sort()
      .map(async (name) => {
        try {
          return [await firewallPartOfFolder(join(root, dirname(name)))];
        } catch (error) {
          if (error instanceof FolderError) return [];
          throw error;
        }
      }),
  )
).flat();
const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value));

const policySources = [
  'read-ruleset',
  'nft-json',
  'nft-clauses',
  'nft-text',
  'iptables-save',
  'host-endpoint',
  'walk',
  'compare',
  'ranges',
  'clause',
].map((name) => `attest-server/policy/firewall/${name}.ts`);

/** What is asked of each ruleset: packets that walk through all of its chains. */
const openings = [
  'input tcp 22,8000-9000 from anywhere',
  'forward any from 10.0.0.0/8,fd00::/8 but 10.1.0.0/16',
  'input icmpv6 from anywhere',
].flatMap((text) => {
  const opening = parseOpening(text);
  return typeof opening === 'string' ? [] : [opening];
});

function walked(ruleset: Ruleset): unknown {
  for (const { rules } of ruleset.chains.values())
    for (const rule of rules) {
      rule.shown();
      rule.clauses();
    }
  const find = wayFinder(ruleset);
  return openings.map(find);
}

/** The part as it is judged: read into one model, walked through, and compared with a machine's. */
export const firewallPart: FuzzedParser = {
  sources: ['attest-server/wire/firewall.ts', ...policySources],
  form: { kind: 'json' },
  most: 64 * 1024,
  seeds: () => parts.map(bytesOf),
  parse: (bytes) => {
    const ruleset = rulesetOf(parseFirewallPart(bytes));
    walked(ruleset);
    const compared = withoutOwned(comparedOf(ruleset), shippedOwners, () => true);
    return shownDifferences(compareRulesets(usual(), compared), 20);
  },
  isDeclared: isRejection,
  isPastHeader: isMember('firewall'),
};

let kept: Ruleset | null = null;
function usual(): Ruleset {
  const [first] = parts;
  if (first === undefined) throw new Error('no firewall is recorded');
  kept ??= comparedOf(rulesetOf(first));
  return kept;
}

/** A reference of kind `firewall`: rules as they are captured, or as a person writes them. */
export const firewallReference: FuzzedParser = {
  sources: ['attest-server/wire/firewall.ts', ...policySources],
  form: { kind: 'json' },
  most: 64 * 1024,
  seeds: () => [
    ...parts.map((part) => bytesOf(capturedOf(rulesetOf(part)))),
    ...parts.map(({ nft, iptables }) =>
      bytesOf({
        nft: JSON.stringify({ nftables: nft ?? [] }),
        'iptables-save': iptables.ip ?? '',
        'ip6tables-save': iptables.ip6 ?? '',
      }),
    ),
  ],
  parse: (bytes) =>
    walked(rulesetOfBaseline(parseJson(bytes.toString('utf8'), firewallBaseline, 'reference'))),
  isDeclared: isRejection,
  // Of two forms neither fits: then no member is named.
  isPastHeader: (error) => isRejection(error) && !error.message.endsWith('is not JSON'),
};

const isFault = (error: unknown) => error instanceof NetfilterFault;

/** What nft prints, in the program that holds the rights to ask it. */
export const nftRuleset: FuzzedParser = {
  sources: ['agent/netfilter/nft-ruleset.ts', 'agent/netfilter/owned-rules.ts'],
  form: { kind: 'json' },
  most: 64 * 1024,
  seeds: () => recordings(`${nodes}/nft.json`).filter(({ length }) => length > 0),
  parse: (bytes) => parseNftRuleset(bytes.toString('utf8'), new OwnedSum(), () => false),
  isDeclared: isFault,
  isPastHeader: (error) => error instanceof Error && /member /.test(error.message),
};

/** A line of `nft -j monitor`: whether it concerns what is compared, whatever it is. */
export const nftEvent: FuzzedParser = {
  sources: ['agent/netfilter/rule-event.ts'],
  form: { kind: 'json' },
  most: 8 * 1024,
  seeds: () => parts.flatMap(({ nft }) => (nft ?? []).slice(1, 12).map((member) => bytesOf({ add: member }))),
  parse: (bytes) => concernsCompared(bytes.toString('utf8'), new Map([['ip\0filter\0INPUT', '[]']])),
  isDeclared: () => false,
  isPastHeader: () => false,
};

/** What iptables-save prints, of either kind and family. */
export const savedTables: FuzzedParser = {
  sources: ['agent/netfilter/saved-tables.ts', 'agent/netfilter/owned-rules.ts'],
  form: { kind: 'text' },
  most: 64 * 1024,
  seeds: () => saved(),
  parse: (bytes) => {
    const { text } = parseSavedTables(
      bytes.toString('latin1'),
      'iptables',
      'ip',
      new OwnedSum(),
      () => false,
    );
    const again = parseSavedTables(text, 'iptables', 'ip', new OwnedSum(), () => false);
    if (again.text !== text) throw new Error('what was saved is not read again as the same');
    return text;
  },
  isDeclared: isFault,
  isPastHeader: (error) => error instanceof Error && !/"\*/.test(error.message),
};

/** The same as the policy reads it, and what its rules do. */
export const savedRules: FuzzedParser = {
  sources: policySources,
  form: { kind: 'text' },
  most: 32 * 1024,
  seeds: () => saved(),
  parse: (bytes) => {
    const none = { ip: '', ip6: '' };
    return walked(rulesetOf({ nft: [], iptables: { ip: bytes.toString('utf8'), ip6: '' }, legacy: none }));
  },
  isDeclared: isRejection,
  isPastHeader: (error) => isRejection(error) && /line (?:[2-9]|\d\d)/.test(error.message),
};

function saved(): readonly Buffer[] {
  return globSync(`${nodes}/*tables*-save.txt`, { cwd: root })
    .sort()
    .map((name) => ({ name: basename(name), bytes: readFileSync(join(root, name)) }))
    .filter(({ bytes }) => bytes.includes('\n*'))
    .map(({ bytes }) => bytes);
}

/** What people write of a firewall into a policy. */
export const firewallWords: FuzzedParser = {
  sources: ['opening', 'requirement', 'ranges', 'owners/form', 'owners/owner'].map(
    (name) => `attest-server/policy/firewall/${name}.ts`,
  ),
  form: { kind: 'text' },
  most: 4 * 1024,
  seeds: () =>
    [
      'input tcp 22,8000-9000 from anywhere',
      'forward any from 10.0.0.0/8,2001:db8::/32 but 10.1.0.0/16',
      'input icmpv6 from ::ffff:1.2.3.4/128',
      'nft inet filter input hook input policy drop',
      'iptables ip filter INPUT policy drop',
      'ip,ip6 filter BLOCK-<word>',
      '<matches> -s <address> -j DNAT --to-destination <elsewhere>',
      '-i br-<hex 12> -o br-<same> -j ACCEPT',
    ].map((text) => Buffer.from(text)),
  parse: (bytes) => {
    const text = bytes.toString('utf8');
    const form = parseForm(text);
    if (typeof form !== 'string') form.fits(text, () => true);
    return [parseOpening(text), parseRequirement(text), parsePlace(text)];
  },
  isDeclared: () => false,
  isPastHeader: () => false,
};
