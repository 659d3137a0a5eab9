import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { openPolicyHistory } from '../../../attest-server/in-force/policy-history.ts';
import {
  createPolicyRefusal,
  type PolicyRefusalParts,
  PolicyRefused,
} from '../../../attest-server/in-force/policy-refusal.ts';
import type { SimulatedNode } from '../../../attest-server/policy/draft/simulation.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import type { Mode, NodeState } from '../../../attest-server/wire/verdict.ts';
import { openMadeStore } from '../store/made-store.ts';

const policyOf = (name: string) =>
  parsePolicy(
    `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: ${name}, nodes: ["*"]}\n`,
    '/etc/assay/p.yaml',
  );
const [before, next] = [policyOf('before'), policyOf('next')];
const logger = pino({ level: 'silent' });

type Kind = keyof typeof kinds;
const side = (state: NodeState, mode: Mode = 'enforce') => ({ state, mode, group: 'g', reasons: [] });
/** What is kept of a node, and what its status says. */
const kinds = {
  lost: { before: side('trusted'), after: side('untrusted'), state: 'trusted', held: false },
  silentAndLost: { before: side('trusted'), after: side('untrusted'), state: 'unknown', held: false },
  same: { before: side('trusted'), after: side('trusted'), state: 'trusted', held: false },
  pending: { before: side('trusted'), after: side('pending'), state: 'trusted', held: false },
  observed: { before: side('trusted'), after: side('untrusted', 'observe'), state: 'trusted', held: false },
  untrusted: { before: side('untrusted'), after: side('untrusted'), state: 'untrusted', held: false },
  // Its evidence is well, and it is not: two nodes show one TPM, say.
  lying: { before: side('trusted'), after: side('untrusted'), state: 'untrusted', held: false },
  held: { before: side('trusted'), after: side('untrusted'), state: 'trusted', held: true },
  unseen: { before: null, after: null, state: 'trusted', held: false },
} as const;

function refusalOver(fleet: Partial<Record<Kind, number>>, change: Partial<PolicyRefusalParts> = {}) {
  const nodes = Object.entries(fleet).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, at) => ({ node: `${kind}-${at}`, ...kinds[kind as Kind] })),
  );
  return createPolicyRefusal({
    share: 0.1,
    compare: async (_before, _after, _references, _signal, progress) => {
      progress(nodes.length);
      return nodes.map(
        ({ node, before, after }): SimulatedNode => ({ node, before, after, changed: true, note: null }),
      );
    },
    status: async (name) => {
      const { state, held } = nodes.find(({ node }) => node === name) ?? assert.fail();
      const sequence = { held: held ? 'counter_rollback' : null } as unknown as NodeStatus['sequence'];
      return { state, sequence };
    },
    allowanceFor: async () => null,
    monotonic: () => 0,
    logger,
    fault: (error) => assert.fail(String(error)),
    ...change,
  });
}

const check = (refusal: ReturnType<typeof refusalOver>) =>
  refusal
    .check(before, { policy: next, source: '/etc/assay/p.yaml' }, null, new AbortController().signal)
    .then(
      () => null,
      (error: unknown) => {
        assert.ok(error instanceof PolicyRefused);
        const { trusted, untrusted } = error.refused;
        return [untrusted, trusted];
      },
    );

describe('whether a policy is refused for what it does to nodes', () => {
  const table: readonly (readonly [string, Partial<Record<Kind, number>>, readonly number[] | null])[] = [
    ['a tenth and no more loses its trust', { lost: 10, same: 90 }, null],
    ['more than a tenth does', { lost: 11, same: 89 }, [11, 100]],
    ['two nodes do, of two', { lost: 2 }, null],
    ['three do, of three', { lost: 3 }, [3, 3]],
    ['nodes that are silent at present would', { silentAndLost: 3, same: 3 }, [3, 6]],
    ['all turn pending', { pending: 100 }, null],
    ['nodes that turn pending are trusted nodes, too', { lost: 3, pending: 27 }, null],
    ['they are only observed by it', { observed: 100 }, null],
    ['nodes that are only observed make the others no fewer (row 388)', { lost: 3, observed: 1000 }, [3, 3]],
    ['nodes are untrusted already (row 388)', { untrusted: 100 }, null],
    ['untrusted nodes stand beside those that are (row 388)', { lost: 3, untrusted: 1000, same: 7 }, [3, 10]],
    ['nodes that lie show the evidence for it (row 388)', { lying: 50, held: 50, same: 10 }, null],
    ['there is no evidence of nodes', { unseen: 100, lost: 2 }, null],
  ];
  for (const [what, fleet, expected] of table)
    it(`${expected === null ? 'it is not' : 'it is'} where ${what}`, async () =>
      assert.deepEqual(await check(refusalOver(fleet)), expected));

  it('goes by the share of the settings', async () => {
    assert.deepEqual(await check(refusalOver({ lost: 30, same: 70 }, { share: 0.3 })), null);
    assert.deepEqual(await check(refusalOver({ lost: 100 }, { share: 1 })), null);
  });

  it('is so where nobody can tell, and names the way to have it', async () => {
    const faults: unknown[] = [];
    const refusal = refusalOver(
      {},
      { compare: () => Promise.reject(new Error('broken')), fault: (error) => faults.push(error) },
    );
    assert.deepEqual(await check(refusal), [0, 0]);
    assert.equal(faults.length, 1);
    assert.equal(refusal.comparing(), null);
  });

  it('is found out once a minute at most of a directory that is read again and again (row 387)', async () => {
    let [asked, time] = [0, 0];
    let allowed = false;
    const refusal = refusalOver(
      { lost: 3 },
      {
        monotonic: () => time,
        allowanceFor: async () => (allowed ? { digest: '', at: 0, by: 'a', reason: 'b' } : null),
      },
    );
    const { check } = refusal;
    refusal.check = async (...parts) => {
      asked += 1;
      return check(...parts);
    };
    const ahead = () =>
      refusal.checkAhead(before, { policy: next, source: 'p.yaml' }, [], new AbortController().signal);
    for (time of [0, 1, 59_999, 60_000]) await assert.rejects(ahead(), PolicyRefused);
    assert.equal(asked, 2);
    allowed = true;
    await ahead();
    assert.equal(asked, 3);
  });

  it('is asked once where it was looked at ahead, and anew for any other', async () => {
    let asked = 0;
    const refusal = refusalOver(
      {},
      {
        compare: async () => {
          asked += 1;
          return [];
        },
      },
    );
    const sourced = (policy: typeof next) => ({ policy, source: 'p.yaml' });
    const { signal } = new AbortController();
    await refusal.checkAhead(before, sourced(next), [], signal);
    await refusal.check(before, sourced(next), null, signal);
    assert.equal(asked, 1);
    await refusal.check(before, sourced(next), null, signal);
    await refusal.checkAhead(before, sourced(next), [], signal);
    await refusal.check(before, sourced(policyOf('other')), null, signal);
    assert.equal(asked, 4);
    await refusal.check(before, sourced(before), null, signal);
    assert.equal(asked, 4);
  });
});

describe('an allowance', () => {
  const word = { by: 'token:alice', reason: 'why' };
  const opened = async (now: () => number) => {
    const store = await openMadeStore(':memory:');
    const history = await openPolicyHistory({
      store: store.policies,
      asHeld: (policy) => policy,
      now,
      logger,
    });
    return { store, history };
  };
  const digestOf = async (policy: typeof next) => {
    const { history } = await opened(() => 0);
    await history.entered({ policy, source: 'p.yaml' }, 'start');
    return (await history.list())[0]?.digest ?? assert.fail();
  };

  it('is for one text, also where another one has its revision (row 389)', async () => {
    const { history, store } = await opened(() => 0);
    const digest = await digestOf(next);
    const alike = `${digest.slice(0, 12)}${digest.slice(12).replace(/./g, (digit) => (digit === '0' ? '1' : '0'))}`;
    await history.allow(alike, word);
    assert.equal(await history.allowanceFor(next), null);
    await history.allow(digest, word);
    assert.equal((await history.allowanceFor(next))?.by, 'token:alice');
    assert.equal(await history.allowanceFor(before), null);
    await store[Symbol.asyncDispose]();
  });

  it('is used up by its policy, gives way to another one, and ends after a week (row 389)', async () => {
    let now = 0;
    const { history, store } = await opened(() => now);
    const [one, two] = [await digestOf(before), await digestOf(next)];
    await history.allow(one, word);
    await history.allow(two, word);
    assert.equal(await history.allowanceFor(before), null);
    await history.entered({ policy: before, source: 'p.yaml' }, 'start');
    assert.notEqual(await history.allowanceFor(next), null);
    await history.entered({ policy: next, source: 'p.yaml' }, 'reload');
    assert.equal(await history.allowanceFor(next), null);
    assert.deepEqual(
      (await history.list()).map(({ came, by, endedAt }) => [came, by, endedAt]),
      [
        ['allowed', 'token:alice', null],
        ['start', null, 0],
      ],
    );
    await history.allow(one, word);
    now += 7 * 86_400_000;
    assert.notEqual(await history.allowanceFor(before), null);
    now += 1;
    assert.equal(await history.allowanceFor(before), null);
    await store[Symbol.asyncDispose]();
  });
});

describe('policies that were in force', () => {
  it('are kept up to a number, the one in force always', async () => {
    const store = await openMadeStore(':memory:');
    let at = 0;
    const history = await openPolicyHistory({
      store: store.policies,
      asHeld: (policy) => policy,
      now: () => at,
      logger,
    });
    for (at = 0; at < 120; at += 1)
      await history.entered({ policy: policyOf(`g${at}`), source: 'p.yaml' }, 'reload');
    const kept = await history.list();
    assert.deepEqual([kept.length, kept[0]?.lastAt, kept.at(-1)?.lastAt], [101, 119, 19]);
    await assert.rejects(history.kept(''), /several policies begin/);
    await assert.rejects(history.kept('f'.repeat(64)), /no policy/);
    await store[Symbol.asyncDispose]();
  });
});
