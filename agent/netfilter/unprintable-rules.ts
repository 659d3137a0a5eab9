import { NetfilterFault } from './netfilter-fault.ts';
import { hasExtension, type NftRuleset } from './nft-ruleset.ts';
import { type Netns, outputOf } from './tools.ts';

/** Whether a program of iptables ended because nft wrote a rule that iptables has no words for. */
export function isUnprintable({ code, message }: NetfilterFault): boolean {
  return code === 'failed' && message.includes('Parsing nftables rule failed');
}

/**
 * As iptables-nft-save would write the tables, if one such rule were not its end: chain by chain, and where that fails rule
 * by rule. What iptables has no words for is a line that says nothing, and so nft's word on that rule is taken.
 * @throws NetfilterFault `hidden_rules` if nft has no words for the rule either, or too many would be asked for
 */
export async function savedWithout(
  where: Netns,
  family: 'ip' | 'ip6',
  ruleset: NftRuleset,
  signal?: AbortSignal,
): Promise<string> {
  const program = family === 'ip' ? 'iptables-nft' : 'ip6tables-nft';
  const lines: string[] = [];
  let left = mostAsked;
  for (const table of ruleset.iptables[family]) {
    const heads: string[] = [];
    const rules: string[] = [];
    for (const [key, policy] of ruleset.policies) {
      const [its, name, chain = ''] = key.split('\0');
      if (its !== family || name !== table) continue;
      // Any other base chain is nft's alone.
      if (policy !== null && !builtIn.has(chain)) continue;
      heads.push(`:${chain} ${policy?.toUpperCase() ?? '-'} [0:0]`);
      const listed = ruleset.rulesOf.get(key) ?? [];
      if (listed.length === 0) continue;
      const whole = await printed(where, program, ['-t', table, '-S', chain], signal);
      if (whole !== null) {
        rules.push(...whole);
        continue;
      }
      for (const [index, { expr }] of listed.entries()) {
        const one =
          --left < 0
            ? null
            : await printed(where, program, ['-t', table, '-S', chain, `${index + 1}`], signal);
        if (one === null && (left < 0 || hasExtension({ expr })))
          throw new NetfilterFault(
            'hidden_rules',
            `chain ${family} ${table} ${chain}: iptables cannot print rule ${index + 1}${left < 0 ? `, and more than ${mostAsked} would be asked for` : ''}`,
          );
        rules.push(...(one ?? [`-A ${chain}`]));
      }
    }
    lines.push(`*${table}`, ...heads, ...rules, 'COMMIT', '');
  }
  return lines.join('\n');
}

/** Rules that are asked for one by one, each by a process, for one reading. */
const mostAsked = 256;
const builtIn: ReadonlySet<string> = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

/** Its lines that are rules; null if one of them cannot be printed. */
async function printed(
  where: Netns,
  program: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<readonly string[] | null> {
  const text = await outputOf(where, program, args, signal).catch((fault: unknown) => {
    if (fault instanceof NetfilterFault && isUnprintable(fault)) return null;
    throw fault;
  });
  return text?.split('\n').filter((line) => line.startsWith('-A ')) ?? null;
}
