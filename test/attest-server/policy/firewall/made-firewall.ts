import { hash } from 'node:crypto';
import { join } from 'node:path';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { appraise, type NodePast, noPast } from '../../../../attest-server/policy/appraise.ts';
import { firewall } from '../../../../attest-server/policy/firewall/firewall.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { madeProof, policyOf } from '../made-proof.ts';

export const at = Date.parse('2026-11-25T12:00:00Z');
const proof = madeProof({});
const plain = policyOf('require: [firewall]');
const [group] = plain.groups;

export function recordedNode(name: string): string {
  return join(import.meta.dirname, '../../../../swtpm-fixtures/recorded-nodes/firewall', name);
}

export function provenWith(part: FirewallPart | Buffer | null): Proven {
  if (part === null) return proof;
  const bytes = Buffer.isBuffer(part) ? part : Buffer.from(JSON.stringify(part));
  return provenByHand(proof, { parts: { firewall: { digest: hash('sha256', bytes), bytes } } });
}

/** The part of a node on which nothing else is. */
export function partWith(given: Partial<FirewallPart>): FirewallPart {
  return {
    version: 1,
    nft: [{ metainfo: { version: '1.1.3' } }],
    iptables: { ip: null, ip6: null },
    legacy: { ip: null, ip6: null },
    owned: [],
    ...given,
  };
}

/** One that somebody captured from a node with these rules. */
export function referenceOf(part: FirewallPart, name = 'baseline'): Reference {
  if (group === undefined || firewall.capture === undefined) throw new Error('nothing to capture by');
  const about = { name, state: 'active', group, node: 'model', by: 'me', at } as const;
  return firewall.capture(provenWith(part), about);
}

/** Under a policy that requires the firewall alone. @param lines under the key `firewall` */
export function judged(
  part: FirewallPart | Buffer | null,
  references: readonly Reference[],
  lines: readonly string[] = [],
  past: NodePast = noPast,
): Verdict {
  const policy =
    lines.length === 0
      ? plain
      : policyOf('require: [firewall]', 'firewall:', ...lines.map((line) => `  ${line}`));
  const { verdict } = appraise(provenWith(part), policy, { name: 'one', past }, references, at);
  // Of the boot, nothing was proven here.
  return { ...verdict, reasons: verdict.reasons.filter(({ aspect }) => aspect === 'firewall') };
}

/** Codes of what fails, in order of their names. */
export function failing({ reasons }: Verdict): readonly string[] {
  return reasons
    .filter(({ severity, aspect }) => severity === 'fail' && aspect === 'firewall')
    .map(({ code }) => code)
    .sort();
}
