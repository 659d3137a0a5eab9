// Goes to attest-server/policy/firewall/firewall.ts, which is as deep as this folder: the imports hold in both places.
import { z } from 'zod';
import type { Aspect, Judgement } from '../../../attest-server/policy/aspect.ts';
import type { Finding } from '../../../attest-server/policy/finding.ts';

interface FirewallRules {
  readonly baseline: 'required' | 'report';
}

const schema = z.strictObject({
  baseline: z
    .enum(['required', 'report'])
    .describe('required: the rules must be those of an active reference; report: others are a warning'),
});

/** What this aspect remembers of a node: the rules that it had last, and how often it had others. */
const memory = z.object({ digest: z.string(), changes: z.number() });

/** Whether the rules of the firewall are those that somebody vouched for. */
export const firewall: Aspect<'firewall', FirewallRules> = {
  name: 'firewall',
  schema,
  parts: ['firewall'],
  readsHost: false,
  referenceKind: 'firewall',
  advice: {
    fw_drift: 'Ask who changed the rules of NODE, then import a reference of them or set them back.',
  },
  rules: (given) => schema.optional().parse(given) ?? { baseline: 'report' },
  contradictions: () => [],
  doubts: ({ baseline }, { require }: { readonly require: readonly string[] }) =>
    baseline === 'required' && !require.includes('firewall')
      ? [
          {
            path: ['firewall', 'baseline'],
            text: 'require does not name firewall, so that this is only reported',
          },
        ]
      : [],
  prepare({ baseline }, { references }) {
    const given = references.map(({ name, kind }) => `${name} (${kind})`).join(', ') || null;
    const good = new Set(
      references
        .filter(({ state }) => state === 'active')
        .flatMap(({ components }) => components.map(({ digests }) => digests.sha256)),
    );
    return {
      judge({ parts }, { past, unread }): Judgement {
        const before = memory.safeParse(past.memory.firewall).data ?? null;
        const digest = parts.firewall?.digest ?? null;
        if (digest === null) {
          const isUnread = unread.some(({ name }) => name === 'firewall');
          return { findings: isUnread ? [] : [noRules], affirmed: false, source: 'host' };
        }
        const hasChanged = before !== null && before.digest !== digest;
        const changes = (before?.changes ?? 0) + (hasChanged ? 1 : 0);
        const isGood = good.has(digest);
        const drift: Finding = {
          code: given === null ? 'no_reference' : 'fw_drift',
          aspect: 'firewall',
          source: 'host',
          severity: baseline === 'required' ? 'fail' : 'warn',
          expected: given,
          actual: `${digest}, changes seen: ${changes}`,
          text: 'The rules of the firewall are those of no reference.',
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

const noRules: Finding = {
  code: 'fw_missing_chain',
  aspect: 'firewall',
  source: 'host',
  expected: 'rules of a firewall',
  actual: null,
  text: 'The node has no rules of a firewall.',
  evidence: null,
};
