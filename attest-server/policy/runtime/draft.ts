import { z } from 'zod';
import { imaAreas } from '../../formats/ima-policy.ts';
import type { Proven } from '../../verify/proven.ts';
import type { DraftedRules, ObservedNode } from '../aspect.ts';
import { policyInForce } from './policy-in-force.ts';

const observed = z.object({ covers: z.array(z.enum(imaAreas)) });

/** Areas that the kernel measures for sure; null if no list is proven, or it is the one entry of a kernel without a policy. */
export function observeRuntime({ ima, boot }: Proven): z.infer<typeof observed> | null {
  if (ima === null || !('head' in ima) || ima.entries <= ima.aggregates.length) return null;
  return { covers: [...policyInForce(boot?.state ?? null, ima, []).covers] };
}

/** The references that affirm the nodes today; before there is one, how to make it. */
export function draftRuntime(nodes: readonly ObservedNode[]): DraftedRules | null {
  const measuring = nodes.flatMap((node) => {
    const { data } = observed.safeParse(node.said);
    return data === undefined ? [] : [{ ...node, covers: data.covers }];
  });
  const [first] = measuring;
  if (first === undefined) return null;
  const covers = imaAreas.filter((area) => measuring.every((one) => one.covers.includes(area)));
  const policy = covers.length === 0 ? {} : { policy: { covers } };
  const names = [...new Set(measuring.flatMap(({ references }) => references))].sort().slice(0, 64);
  const notes = [
    `${measuring.length} of ${nodes.length} show a list of IMA, which measures ${covers.join(', ') || 'nothing for sure'}`,
  ];
  if (names.length === 0)
    return {
      rules: { references: ['NAME'], ...policy },
      holds: false,
      notes: [
        ...notes,
        'no reference knows what they ran. Make a list of their packages (assay reference runtime), or capture a node that you vouch for:',
        `  assay reference capture ${first.node} --kind runtime --name NAME`,
      ],
    };
  const unlike = measuring.filter(({ references }) => references.length === 0).map(({ node }) => node);
  return {
    rules: { references: names, ...policy },
    // Each of several may know a part of what runs, so that only one that knows all is taken for a rule.
    holds:
      covers.length > 0 && unlike.length === 0 && measuring.length === nodes.length && names.length === 1,
    notes: [...notes, `files of ${names.join(', ')}`],
  };
}
