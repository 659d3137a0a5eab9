import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { openInForce } from '../../../attest-server/in-force/open.ts';
import type { KeptPolicy, LatchedPolicy } from '../../../attest-server/in-force/ports.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openMadeStore } from '../store/made-store.ts';

const policyOf = (mode: string, name = 'workers') =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: ${name}\n    nodes: ["*"]\n    mode: ${mode}\n    require: [identity, boot]\n`;

describe('a policy under the latch', () => {
  let dir = '';
  let file = '';
  let store: Store;
  let groups: readonly string[] | null;
  let kept: KeptPolicy | null;
  let refusals: string[];
  const latched: LatchedPolicy = {
    read: async () => groups && { groups, policy: kept },
    keep: async (policy) => {
      kept = policy;
    },
  };
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-latched-'));
    file = join(dir, 'policy.yaml');
    [groups, kept, refusals] = [null, null, []];
    store = await openMadeStore(':memory:');
    await writeFile(file, policyOf('enforce'));
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  const start = () =>
    openInForce({
      declared: () => null,
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
      latched,
      bundle: async () => null,
      contextOf: keptContext,
      context: async () => null,
      labelsOf: () => ({}),
      refusedShare: 0.1,
      startWithin: 10_000,
      now: () => 0,
      monotonic: () => 0,
      logger: pino({ level: 'silent' }),
      report: {
        policyInForce() {},
        notReloaded: (part, text) => void refusals.push(`${part} ${text}`),
        policyCompared() {},
        fault: (error) => assert.fail(String(error)),
      },
    });
  type Rules = Awaited<ReturnType<typeof start>>;
  const latch = (rules: Rules) =>
    rules.latch(async () => {
      groups = ['workers'];
    });
  const reload = (rules: Rules) =>
    rules.reloader({ declared() {}, roots() {}, certificate() {}, tokens() {}, webhook() {} })();
  const mode = (rules: Rules) => rules.policy().groups[0]?.mode;

  it('is refused whole where it asks for less: the old one stays, with line and field', async () => {
    await using rules = await start();
    await latch(rules);
    await writeFile(file, policyOf('label'));
    const refused = await reload(rules).catch((error: unknown) => error);
    assert.ok(refused instanceof PolicyError);
    assert.equal(refused.code, 'latched');
    assert.deepEqual(
      refused.faults.map(({ line, field }) => [line, field]),
      [[6, 'groups.0.mode']],
    );
    assert.equal(mode(rules), 'enforce');
    assert.match(rules.faulty()[0]?.text ?? '', /latched/);
    assert.equal(kept?.text, policyOf('enforce'));
  });

  it('is refused by a server that starts, which goes on with the one that it had, (row 105)', async () => {
    {
      await using rules = await start();
      await latch(rules);
    }
    await writeFile(file, policyOf('observe'));
    await using rules = await start();
    assert.equal(mode(rules), 'enforce');
    assert.match(refusals.join(), /^policy .*:6: groups\.0\.mode: latched: /);
    assert.deepEqual(
      rules.faulty().map(({ part }) => part),
      ['policy'],
    );
    await writeFile(file, policyOf('enforce'));
    await reload(rules);
    assert.deepEqual(rules.faulty(), []);
  });

  it('that a signed directory brings is refused whole where it asks for less, and nothing is stored', async () => {
    await using rules = await start();
    await latch(rules);
    let stored = 0;
    const adopt = (mode: string) =>
      rules.adopt({ source: 'fleet/policy.yaml', text: policyOf(mode) }, async () => {
        stored += 1;
      });
    const refused = await adopt('label').catch((error: unknown) => error);
    assert.ok(refused instanceof PolicyError);
    assert.deepEqual(
      [refused.code, refused.file, stored, mode(rules)],
      ['latched', 'fleet/policy.yaml', 0, 'enforce'],
    );
    await adopt('enforce');
    assert.deepEqual([stored, kept?.text], [1, policyOf('enforce')]);
  });

  it('is the one below which no other goes, once it asks for more', async () => {
    await writeFile(file, policyOf('label'));
    await using rules = await start();
    await latch(rules);
    await writeFile(file, policyOf('enforce'));
    await reload(rules);
    assert.equal(kept?.text, policyOf('enforce'));
    await writeFile(file, policyOf('label'));
    await assert.rejects(reload(rules), PolicyError);
    assert.equal(mode(rules), 'enforce');
  });

  it('may shrink as long as there is no latch, and nothing is kept', async () => {
    await using rules = await start();
    await writeFile(file, policyOf('observe'));
    await reload(rules);
    assert.equal(mode(rules), 'observe');
    assert.equal(kept, null);
  });

  it('comes into force although it only observes where no other one is known, so that the server starts', async () => {
    groups = [];
    await writeFile(file, policyOf('observe'));
    await using rules = await start();
    assert.equal(mode(rules), 'observe');
    await writeFile(file, policyOf('enforce'));
    await reload(rules);
    assert.equal(mode(rules), 'enforce');
    assert.equal(kept?.text, policyOf('enforce'));
  });

  it('counts by what was kept, and by nothing where this version cannot read that', async () => {
    [groups, kept] = [['workers'], { source: file, text: 'kind: Nonsense\n' }];
    await writeFile(file, policyOf('label'));
    await using rules = await start();
    assert.equal(mode(rules), 'label');
    assert.equal(kept?.text, policyOf('label'));
  });

  it('is refused as well where somebody goes back to it, and a rollback above it is what is kept (row 391)', async () => {
    const word = { by: 'token:admin', reason: 'a slip' };
    await using rules = await start();
    const [weak, strong, slip] = ['label', 'enforce', 'enforce'].map((mode, at) =>
      policyOf(mode).concat(`# ${at}\n`),
    ) as [string, string, string];
    for (const text of [weak, strong, slip]) {
      await writeFile(file, text);
      await reload(rules);
    }
    await latch(rules);
    const digits = (text: string) => hash('sha256', text, 'hex').slice(0, 12);
    const refused = await rules.history.goBack(digits(weak), word).catch((error: unknown) => error);
    assert.ok(refused instanceof PolicyError);
    assert.deepEqual([refused.code, rules.policy().text, rules.history.rollback()], ['latched', slip, null]);
    await rules.history.goBack(digits(strong), word);
    assert.deepEqual([rules.policy().text, kept?.text], [strong, strong]);
    // Of the file nothing below comes in either, and what it has counts no more than before.
    await writeFile(file, weak);
    await assert.rejects(reload(rules), PolicyError);
    await writeFile(file, slip);
    await reload(rules);
    assert.deepEqual([rules.policy().text, kept?.text], [strong, strong]);
    // Nor at a start.
    await writeFile(file, weak);
    await using again = await start();
    assert.deepEqual([again.policy().text, again.faulty().length], [strong, 1]);
    await writeFile(file, slip);
    await reload(again);
    assert.equal(again.policy().text, strong);
  });
});
