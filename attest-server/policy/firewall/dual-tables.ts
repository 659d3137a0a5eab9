import { isIdle, type Ruleset } from './ruleset.ts';

/** A hook of one family at which rules of both kinds stand: whoever reads one of them sees half of the firewall. */
export interface DualHook {
  /** `ip input` */
  readonly hook: string;
  readonly chains: readonly string[];
}

/** @param baseline what the node is compared with: rules that went over to the other kind are in both, too */
export function dualHooks(node: Ruleset, baseline: Ruleset | null): readonly DualHook[] {
  const own = hooksOf(node);
  const known = baseline === null ? null : hooksOf(baseline);
  const found: DualHook[] = [];
  for (const [hook, { legacy, nft }] of own) {
    const before = known?.get(hook);
    const others =
      nft.length > 0 || legacy.length === 0 || before === undefined || before.legacy.length > 0
        ? nft
        : before.nft;
    if (legacy.length > 0 && others.length > 0) found.push({ hook, chains: [...others, ...legacy] });
  }
  return found;
}

/** By family and hook, the chains that do something there. */
function hooksOf({
  chains,
}: Ruleset): ReadonlyMap<string, { readonly legacy: string[]; readonly nft: string[] }> {
  const hooks = new Map<string, { readonly legacy: string[]; readonly nft: string[] }>();
  for (const [key, chain] of chains) {
    const { kind, family, base, rules } = chain;
    if (base === null || isIdle(chain) || (rules.length === 0 && base.policy === 'accept')) continue;
    for (const one of family === 'inet' ? ['ip', 'ip6'] : [family]) {
      const hook = `${one} ${base.hook}`;
      const known = hooks.get(hook) ?? { legacy: [], nft: [] };
      hooks.set(hook, known);
      known[kind === 'legacy' ? 'legacy' : 'nft'].push(key);
    }
  }
  return hooks;
}
