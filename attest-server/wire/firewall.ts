import { z } from 'zod';
import { limits } from './limits.ts';
import { parseJson } from './parse-json.ts';

/**
 * The part `firewall` of evidence: JSON, UTF-8. It shows the rules of the host's network namespace, as `assay-agent
 * netfilter` reads them: nft's whole ruleset, and both kinds of iptables for IPv4 and IPv6. All of it is the node's
 * word. Left out on the node, and nothing else: counters, handles, elements that time out, and the rules of chains
 * that a declared owner (owned-chains.ts) writes, of which stays what `owned` says and what it would not write
 * (stray-rules.ts); and of nft, rules of a chain that iptables-save shows as a whole (shown-by-iptables.ts).
 */
const text = z.string().max(limits.parts.firewall);
const family = z.enum(['ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev']);

/** By `iptables-save` and `ip6tables-save`; null if this kind has no table: nothing was made by looking. */
const saved = z.strictObject({ ip: text.nullable(), ip6: text.nullable() });

export const firewallPart = z.strictObject({
  version: z.literal(1),
  /** The members of `nft -j list ruleset`, each an object of one member; null if the kernel has no nf_tables. */
  nft: z.array(z.record(z.string(), z.unknown())).max(200_000).nullable(),
  /** iptables over nf_tables: nft shows these rules only in part. */
  iptables: saved,
  /** iptables over its own tables, which nft does not show. */
  legacy: saved,
  /** Chains whose rules were left out: who owns them, how many rules there are, and SHA-256 of them. */
  owned: z
    .array(
      z.strictObject({
        from: z.enum(['nft', 'iptables', 'legacy']),
        family,
        table: z.string().max(256),
        chain: z.string().max(256),
        owner: z.string().max(64),
        rules: z.int().min(0),
        digest: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .max(16_384),
  /**
   * Addresses to which rules send packets and which are the node's own, as rules write them. It is there where no rule
   * was left out that its owner would not write; absent from agents of 0.3.0.
   */
  local: z.array(z.string().max(64)).max(4096).optional(),
});
export type FirewallPart = z.infer<typeof firewallPart>;

/** Output of `nft -j list ruleset`. */
export const nftOutput = z.object({ nftables: z.array(z.record(z.string(), z.unknown())).max(200_000) });

const name = z.string().min(1).max(256);
const rule = z.string().max(limits.rules.text);
const written = z.string().max(4 * 1024 * 1024);

/** Rules as `policy/firewall` compares them, whichever version of a tool had printed them. */
const captured = z.strictObject({
  chains: z
    .array(
      z.strictObject({
        kind: z.enum(['nft', 'iptables', 'legacy']),
        family,
        table: name,
        name,
        /** Null if only jumps enter the chain. */
        base: z
          .strictObject({
            type: name,
            hook: name,
            priority: z.int(),
            policy: z.enum(['accept', 'drop']),
            devices: z.array(name).max(1024),
          })
          .nullable(),
        /** As iptables-save prints them, or the statements of `nft -j`; in their order. */
        rules: z.array(rule).max(65_536),
      }),
    )
    .max(limits.rules.chains),
  /** Sets, maps, flowtables and named objects of nft tables. */
  objects: z
    .array(
      z.strictObject({
        family,
        table: name,
        type: name,
        name,
        head: rule,
        elements: z.array(rule).max(limits.rules.elements),
      }),
    )
    .max(limits.rules.objects),
});

/** The rules of a reference of kind `firewall`: captured, or as a person wrote them, in the words of the tools. */
export const firewallBaseline = z.union([
  captured,
  z
    .strictObject({
      /** The text that `nft -j list ruleset` prints. */
      nft: written.optional(),
      'iptables-save': written.optional(),
      'ip6tables-save': written.optional(),
      'iptables-legacy-save': written.optional(),
      'ip6tables-legacy-save': written.optional(),
    })
    .refine((texts) => Object.values(texts).some((text) => text !== undefined), 'names no rules'),
]);
export type FirewallBaseline = z.infer<typeof firewallBaseline>;

/** @throws Rejection `too_large`, `malformed` with the field */
export function parseFirewallPart(bytes: Buffer): FirewallPart {
  return parseJson(bytes.toString('utf8'), firewallPart, 'firewall', 'firewall');
}
