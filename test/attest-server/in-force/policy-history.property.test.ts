import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { openInForce, type RulesInForce } from '../../../attest-server/in-force/open.ts';
import { openMadeStore } from '../store/made-store.ts';

const textOf = (which: number) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: g${which}, nodes: ["*"]}\n`;
const revisionOf = (text: string) => hash('sha256', text, 'hex').slice(0, 12);

/** What people and files do, a text by its number. */
const steps = fc.array(
  fc.oneof(
    fc.record({ is: fc.constantFrom('write', 'back', 'adopt'), which: fc.integer({ min: 0, max: 3 }) }),
    fc.record({ is: fc.constantFrom('reload', 'restart', 'touch'), which: fc.constant(0) }),
  ),
  { maxLength: 14 },
);

describe('which policy is in force', () => {
  it('is the last text that was given and is new, or the one that somebody went back to since', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (taken) => {
        const dir = await mkdtemp(join(tmpdir(), 'assay-history-'));
        const file = join(dir, 'policy.yaml');
        const store = await openMadeStore(':memory:');
        let declared = null as { readonly source: string; readonly text: string } | null;
        const start = () =>
          openInForce({
            declared: () => declared,
            trial: false,
            policy: file,
            methods: ['pin'],
            store: {
              enrolment: { nodes: async () => [], node: async () => null },
              verdicts: { status: async () => null },
              policies: store.policies,
              references: { list: async () => [] },
            },
            presence: { present: (nodes) => nodes },
            latched: { read: async () => null, keep: () => assert.fail('there is no latch') },
            bundle: async () => null,
            context: async () => null,
            contextOf: keptContext,
            labelsOf: () => ({}),
            refusedShare: 0.1,
            startWithin: 10_000,
            now: () => 0,
            monotonic: () => 0,
            logger: pino({ level: 'silent' }),
            report: {
              policyInForce() {},
              notReloaded: (_part, text) => assert.fail(text),
              policyCompared() {},
              fault: (error) => assert.fail(String(error)),
            },
          });
        const reload = (rules: RulesInForce) =>
          rules.reloader({ declared() {}, roots() {}, certificate() {}, tokens() {}, webhook() {} })();

        // The model: the text that is given, the one in force, and the text that is out of force meanwhile.
        let written = textOf(0);
        await writeFile(file, written);
        let rules = await start();
        let inForce = written;
        let insteadOf = null as string | null;
        const seen = new Set([inForce]);
        const give = (text: string) => {
          if (text === insteadOf) return;
          [inForce, insteadOf] = [text, null];
          seen.add(text);
        };
        try {
          for (const { is, which } of taken) {
            const text = textOf(which);
            if (is === 'write') written = text;
            if (is === 'write' || is === 'touch') await writeFile(file, written);
            if (is === 'adopt') {
              await rules.adopt({ source: 'fleet/policy.yaml', text }, async () => {
                declared = { source: 'fleet/policy.yaml', text };
              });
              give(text);
            }
            if (is === 'reload') {
              await reload(rules);
              give(declared?.text ?? written);
            }
            if (is === 'restart') {
              await rules[Symbol.asyncDispose]();
              rules = await start();
              give(declared?.text ?? written);
            }
            if (is === 'back') {
              const possible = seen.has(text) && text !== inForce;
              const done = rules.history.goBack(revisionOf(text), { by: 'a', reason: 'b' });
              if (!possible) await assert.rejects(done, { name: 'NotNow' });
              else {
                await done;
                const stays: string = insteadOf ?? inForce;
                [inForce, insteadOf] = [text, text === stays ? null : stays];
              }
            }
            assert.equal(rules.policy().text, inForce, is);
            const insteadOfDigest = insteadOf && hash('sha256', insteadOf, 'hex');
            assert.equal(rules.history.rollback()?.insteadOf ?? null, insteadOfDigest, is);
            const kept = await rules.history.list();
            assert.deepEqual(
              kept.filter(({ endedAt }) => endedAt === null).map(({ digest }) => digest),
              [hash('sha256', inForce, 'hex')],
            );
            assert.equal(kept.length, seen.size);
          }
        } finally {
          await rules[Symbol.asyncDispose]();
          await store[Symbol.asyncDispose]();
          await rm(dir, { recursive: true });
        }
      }),
      { numRuns: 40 },
    );
  });
});
