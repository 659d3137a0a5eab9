import type { Chain, RuleKind, Ruleset } from './ruleset.ts';

/** A chain that must be there, and what its base chain must be. */
export interface Requirement {
  readonly text: string;
  /** Null: whichever program shows it. */
  readonly kind: RuleKind | null;
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: string | null;
  readonly policy: 'accept' | 'drop' | null;
}

/** In the words of a policy; for schemas and documents. */
export const requirementForm = '[nft|iptables|legacy] FAMILY TABLE CHAIN [hook HOOK] [policy accept|drop]';

/** @returns the requirement, or what is wrong with the text */
export function parseRequirement(text: string): Requirement | string {
  const words = text.trim().split(/\s+/);
  const kind = kindOf(words[0]);
  if (kind !== null) words.shift();
  const [family = '', table = '', chain = '', ...options] = words;
  if (!families.has(family))
    return `${family || 'nothing'} is no family: ip, ip6, inet, arp, bridge or netdev`;
  if (table === '' || chain === '') return 'does not name a table and a chain';
  const found: { hook: string | null; policy: Requirement['policy'] } = { hook: null, policy: null };
  for (let i = 0; i < options.length; i += 2) {
    const value = options[i + 1];
    if (options[i] === 'hook' && value !== undefined) found.hook = value;
    else if (options[i] === 'policy' && (value === 'drop' || value === 'accept')) found.policy = value;
    else return `${options.slice(i, i + 2).join(' ')} is neither hook HOOK nor policy accept|drop`;
  }
  return { text: text.trim().replaceAll(/\s+/g, ' '), kind, family, table, chain, ...found };
}

const families: ReadonlySet<string> = new Set(['ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev']);

function kindOf(word: string | undefined): RuleKind | null {
  return word === 'nft' || word === 'iptables' || word === 'legacy' ? word : null;
}

/** The chains that it speaks of, whatever their hook and policy. */
export function chainsNamed(
  { kind, family, table, chain }: Requirement,
  { chains }: Ruleset,
): readonly Chain[] {
  return (['nft', 'iptables', 'legacy'] as const).flatMap((one) => {
    const found =
      kind === null || kind === one ? chains.get(`${one} ${family} ${table} ${chain}`) : undefined;
    return found === undefined ? [] : [found];
  });
}
