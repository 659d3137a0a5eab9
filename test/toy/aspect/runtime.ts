// Goes to attest-server/policy/runtime/runtime.ts, which is as deep as this folder: the imports hold in both places.
import { hash } from 'node:crypto';
import { z } from 'zod';
import { parseFiles } from '../../../attest-server/formats/reference.ts';
import type { Aspect, AspectJudgement } from '../../../attest-server/policy/aspect.ts';
import type { Finding } from '../../../attest-server/policy/finding.ts';

interface RuntimeRules {
  readonly baseline: 'required' | 'report';
}

const schema = z.strictObject({
  baseline: z
    .enum(['required', 'report'])
    .describe('required: the programs must be those of an active reference; report: others are a warning'),
});

/** What this aspect remembers of a node: the list that it had last, and how often it had others. */
const memory = z.object({ digest: z.string(), changes: z.number() });

/** Whether the programs that a list names are those that somebody vouched for. */
export const runtime: Aspect<'runtime', RuntimeRules> = {
  name: 'runtime',
  schema,
  parts: ['inventory'],
  readsHost: false,
  referenceKind: 'runtime',
  advice: {
    ima_unknown_file:
      'Ask who changed the programs of NODE, then import a reference of them or set them back.',
  },
  rules: (given) => schema.optional().parse(given) ?? { baseline: 'report' },
  contradictions: () => [],
  doubts: ({ baseline }, { require }: { readonly require: readonly string[] }) =>
    baseline === 'required' && !require.includes('runtime')
      ? [
          {
            path: ['runtime', 'baseline'],
            text: 'require does not name runtime, so that this is only reported',
          },
        ]
      : [],
  prepare({ baseline }, { references }) {
    const given = references.map(({ name, kind }) => `${name} (${kind})`).join(', ') || null;
    const good = references
      .filter(({ state }) => state === 'active')
      .flatMap((reference) => (reference.runtime === undefined ? [] : [parseFiles(reference.runtime)]));
    return {
      judge({ parts }, { past }): AspectJudgement {
        const before = memory.safeParse(past.memory.runtime).data ?? null;
        const digest = parts.inventory?.digest ?? null;
        // What stands against the node then, others know.
        if (digest === null) return { findings: [], affirmed: false, source: 'host' };
        if (digest === empty) return { findings: [emptyList], affirmed: false, source: 'host' };
        const hasChanged = before !== null && before.digest !== digest;
        const changes = (before?.changes ?? 0) + (hasChanged ? 1 : 0);
        const isGood = good.some((list) => list.find(Buffer.from(digest, 'hex')) >= 0);
        const drift: Finding = {
          code: given === null ? 'no_reference' : 'ima_unknown_file',
          aspect: 'runtime',
          source: 'host',
          severity: baseline === 'required' ? 'fail' : 'warn',
          expected: given,
          actual: `${digest}, changes seen: ${changes}`,
          text: 'The programs are those of no reference.',
          evidence: { digest, position: 'part' },
        };
        return {
          findings: isGood ? [] : [drift],
          affirmed: isGood,
          source: 'host',
          next: { digest, changes },
        };
      },
    };
  },
};

const empty = hash('sha256', '');

const emptyList: Finding = {
  code: 'facts_unavailable',
  aspect: 'runtime',
  source: 'host',
  expected: 'a list of programs',
  actual: null,
  text: 'The list of programs of the node is empty.',
  evidence: null,
};
