import type { Proven } from '../../verify/proven.ts';
import { parseFirewallPart } from '../../wire/firewall.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { DraftedRules, ObservedNode } from '../aspect.ts';

/** The fact that rules were read, and no more: what they are is compared with references. */
export function observeFirewall({ parts }: Proven): Readonly<Record<string, unknown>> | null {
  const bytes = parts.firewall?.bytes ?? null;
  if (bytes === null) return null;
  try {
    parseFirewallPart(bytes);
    return {};
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}

/** The references that affirm the nodes today; before there is one, how to make it. */
export function draftFirewall(nodes: readonly ObservedNode[]): DraftedRules | null {
  const read = nodes.filter(({ said }) => said !== null);
  const [first] = read;
  if (first === undefined) return null;
  const unlike = read.filter(({ references }) => references.length === 0).map(({ node }) => node);
  const names = [...new Set(read.flatMap(({ references }) => references))].sort().slice(0, 64);
  const [only, ...others] = names;
  if (only === undefined)
    return {
      rules: { baseline: 'NAME' },
      holds: false,
      notes: [
        'no reference says what the rules should be. Capture one from a node that you vouch for, and name it here:',
        `  assay reference capture ${first.node} --kind firewall --name NAME`,
      ],
    };
  return {
    rules: { baseline: others.length === 0 ? only : names },
    holds: unlike.length === 0 && read.length === nodes.length,
    notes: [
      `${read.length - unlike.length} of ${nodes.length} have the rules of ${names.join(', ')}`,
      ...(unlike.length === 0 ? [] : [`other rules: ${unlike.join(', ')}`]),
    ],
  };
}
