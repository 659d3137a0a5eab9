import type { Ruleset } from './ruleset.ts';

/**
 * What Calico's host endpoints do on a node, in a line for people; null where no rule of them was sent. An agent leaves
 * these rules out: what was recorded as a whole, or written by hand, has them.
 */
export function calicoHostPolicies({ chains }: Ruleset): string | null {
  let isSeen = false;
  let denies = false;
  const failsafe = new Set<string>();
  for (const { name, rules } of chains.values()) {
    if (rules.length === 0) continue;
    if (/^cali-(fh|th)-/.test(name)) {
      isSeen = true;
      if (/ -j DROP$/.test(rules.at(-1)?.text ?? '')) denies = true;
    }
    if (name !== 'cali-failsafe-in') continue;
    for (const { text } of rules) {
      const [, protocol, ports] = / -p (\S+) .*--dports? (\S+)/.exec(text) ?? [];
      if (protocol !== undefined && ports !== undefined && text.endsWith(' -j ACCEPT'))
        failsafe.add(`${protocol} ${ports}`);
    }
  }
  if (!isSeen) return null;
  const ports = failsafe.size === 0 ? 'no failsafe ports' : `failsafe ports ${[...failsafe].join(', ')}`;
  return `Calico host policies: default deny ${denies ? 'present' : 'absent'}, ${ports}`;
}
