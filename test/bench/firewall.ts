import type { Finding } from '../../attest-server/policy/finding.ts';
import { baselineOf } from '../../attest-server/policy/firewall/baseline.ts';
import { judgeRules } from '../../attest-server/policy/firewall/judge-rules.ts';
import { parseOpening } from '../../attest-server/policy/firewall/opening.ts';
import { shippedOwners } from '../../attest-server/policy/firewall/owners/shipped.ts';
import {
  capturedOf,
  rulesetOf,
  rulesetOfBaseline,
} from '../../attest-server/policy/firewall/read-ruleset.ts';
import { type FirewallPart, parseFirewallPart } from '../../attest-server/wire/firewall.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import { cpuMs, median } from './cpu-time.ts';
import { sized } from './sized.ts';

export interface FirewallFigures {
  /** Medians, milliseconds of CPU time of one core: 10,000 rules of iptables, and of nft, read, compared with a baseline of which one differs, and judged. */
  readonly iptables_10k_ms: number;
  readonly nft_10k_ms: number;
  /** The same with every rule in another place. */
  readonly reversed_10k_ms: number;
  readonly iptables_50k_ms: number;
}

/** Canonicalising and comparing a large firewall. */
export function benchFirewall(): FirewallFigures {
  const [some, many] = [sized(10_000, 100), sized(50_000, 100)];
  return {
    iptables_10k_ms: judging(iptables(rulesOf(some)), iptables(changed(rulesOf(some)))),
    nft_10k_ms: judging(nft(some, 0), nft(some, 1)),
    reversed_10k_ms: judging(iptables(rulesOf(some)), iptables(rulesOf(some).reverse())),
    iptables_50k_ms: judging(iptables(rulesOf(many)), iptables(changed(rulesOf(many)))),
  };
}

const opening = parseOpening('input tcp 22 from anywhere but 10.0.0.0/8');

function judging(before: FirewallPart, after: FirewallPart): number {
  const baseline = baselineOf('good', rulesetOfBaseline(capturedOf(rulesetOf(before))), shippedOwners);
  const bytes = Buffer.from(JSON.stringify(after));
  const forbid = typeof opening === 'string' ? [] : [opening];
  const rules = { require: [], forbid, owners: shippedOwners };
  const by = { active: [baseline], revoked: [], idle: () => [], isAsked: true };
  const times: number[] = [];
  let findings: readonly Finding[] = [];
  for (let round = 0; round < sized(7, 1); round++) {
    times.push(
      cpuMs(() => {
        findings = judgeRules(parse(bytes), '0'.repeat(64), rules, by).findings;
      }),
    );
    if (!findings.some(({ code }) => code === 'fw_drift')) throw new Error('a change was not found');
  }
  return Math.round(median(times));
}

/** A text may be larger here than a node may send. */
function parse(bytes: Buffer): FirewallPart {
  return bytes.length <= limits.parts.firewall
    ? parseFirewallPart(bytes)
    : JSON.parse(bytes.toString('utf8'));
}

function rulesOf(count: number): string[] {
  return Array.from(
    { length: count },
    (_, i) =>
      `-A INPUT -s 10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32 -p tcp -m tcp --dport ${1024 + (i % 60_000)} -j ACCEPT`,
  );
}

function changed(rules: readonly string[]): string[] {
  return ['-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT', ...rules.slice(0, -1)];
}

function part(given: Partial<FirewallPart>): FirewallPart {
  const none = { ip: null, ip6: null };
  return { version: 1, nft: [], iptables: none, legacy: none, owned: [], ...given };
}

function iptables(rules: readonly string[]): FirewallPart {
  const head = ['*filter', ':INPUT DROP [0:0]', ':FORWARD DROP [0:0]', ':OUTPUT ACCEPT [0:0]'];
  return part({ iptables: { ip: [...head, ...rules, 'COMMIT', ''].join('\n'), ip6: null } });
}

function nft(count: number, first: number): FirewallPart {
  const at = { family: 'inet', table: 't' } as const;
  const match = (protocol: string, field: string, right: unknown) => ({
    match: { op: '==', left: { payload: { protocol, field } }, right },
  });
  const rules = Array.from({ length: count }, (_, i) => ({
    rule: {
      ...at,
      chain: 'input',
      expr: [
        match('ip', 'saddr', `10.1.${(i >> 8) & 255}.${i & 255}`),
        match('tcp', 'dport', 1024 + i),
        { counter: { packets: i, bytes: i } },
        { accept: null },
      ],
    },
  })).slice(first);
  const chain = { ...at, name: 'input', type: 'filter', hook: 'input', prio: 0, policy: 'drop' };
  return part({ nft: [{ table: { family: 'inet', name: 't' } }, { chain }, ...rules] });
}
