import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { referenceCandidates } from '../../../attest-server/api/candidates-api.ts';
import { plainName, type Reference } from '../../../attest-server/formats/reference.ts';
import type { KeptUnknown } from '../../../attest-server/policy/kept-unknown.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import type { CandidateFilter } from '../../../attest-server/references/alike-nodes.ts';
import { gatherCandidates } from '../../../attest-server/references/candidates.ts';
import { FreeNames } from '../../../attest-server/references/free-name.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { now, reasonOf, referenceOf, verdictOf } from '../http/api-fixture.ts';
import { policyOf } from '../policy/made-proof.ts';

const unknownAfter = 180_000;
const kernel: KeptUnknown = {
  set: 'a'.repeat(16),
  things: [{ what: 'kernel', name: '/vmlinuz', digest: `sha256:${'ab'.repeat(32)}`, more: 0 }],
  own: false,
  lacks: null,
  since: now - 60_000,
  codes: ['kernel_unknown'],
  rules: [],
  knownBy: null,
  signed: false,
  held: [],
};
const drifting = verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] });

interface Node {
  readonly unknown?: Partial<KeptUnknown>;
  readonly aspect?: 'firewall' | 'runtime';
  readonly verdict?: Verdict;
  readonly verifiedAt?: number;
}

async function gathered(
  nodes: Readonly<Record<string, Node>>,
  {
    references = [],
    policy = policyOf(),
    filter = {},
  }: {
    readonly references?: readonly Reference[];
    readonly policy?: Policy;
    readonly filter?: CandidateFilter;
  } = {},
) {
  const found = await gatherCandidates(
    {
      statuses: () =>
        Object.entries(nodes).map(([name, node]) => {
          const { unknown, aspect = 'boot', verdict = drifting, verifiedAt = now - 5000 } = node;
          const memory = unknown === undefined ? {} : { unknown: { [aspect]: { ...kernel, ...unknown } } };
          return { name, verdict, verifiedAt, memory };
        }),
      store: { list: async () => references },
      policy: () => policy,
      directory: '/etc/fleet',
      now: () => now,
      unknownAfter,
    },
    filter,
  );
  assert.deepEqual(referenceCandidates.parse(found), found);
  return found;
}

const many = (count: number, node: (index: number) => Node) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`node-${index}`, node(index)]));
const setNumber = (index: number) => index.toString(16).padStart(16, '0');

describe('candidates for references', () => {
  it('are grouped by what is unknown, by group, and by what can be done about it', async () => {
    const { items } = await gathered({
      a: { unknown: {} },
      b: { unknown: { since: now - 90_000 } },
      c: { unknown: { set: 'b'.repeat(16) } },
      d: { unknown: { signed: true } },
      e: { unknown: {}, verdict: { ...drifting, group: 'edge' } },
      f: {},
    });
    assert.deepEqual(items.map(({ nodes }) => nodes.join(' ')).sort(), ['a b', 'c', 'd', 'e']);
    assert.equal(items[0]?.firstSeen, new Date(now - 90_000).toISOString());
    assert.equal(items[0]?.text, '2 nodes of group workers boot something unknown: kernel');
  });

  it('have no command for what a signed directory declares: it says where that comes into force', async () => {
    const ours = { ...referenceOf('ours'), state: 'staged' } as const;
    const declared = { key: 'merge', serial: 3, sha256: 'ab'.repeat(32) };
    const step = async (held: Reference) => {
      const { items } = await gathered({ a: { unknown: { knownBy: 'ours' } } }, { references: [held] });
      const { command, knownBy, notes } = items[0] ?? assert.fail();
      return [command, knownBy?.name, notes.some((note) => note.includes('/etc/fleet'))];
    };
    assert.deepEqual(await step({ ...ours, declared }), [null, 'ours', true]);
    assert.deepEqual(await step(ours), [
      'assay reference approve ours --reason "its boots are wanted"',
      'ours',
      false,
    ]);
  });

  it('leave out who is silent, and who is of no concern', async () => {
    for (const state of ['unknown', 'unsupported'] as const) {
      const found = await gathered({ a: { unknown: {}, verdict: verdictOf({ state }) } });
      assert.deepEqual([found.nodes, found.unknown, found.items], [1, 0, []]);
    }
  });

  it('are not offered of a node of which any finding says that somebody lies (row 187)', async () => {
    const lies = {
      ...drifting,
      reasons: [...drifting.reasons, reasonOf('clone_suspected', { aspect: 'identity' })],
    };
    const found = await gathered({
      a: { unknown: { held: ['log_replay_mismatch'] } },
      b: { unknown: {}, verdict: lies },
      c: { unknown: {} },
    });
    assert.deepEqual(
      found.items.map(({ nodes }) => nodes),
      [['c']],
    );
    assert.deepEqual(
      [found.unknown, found.held],
      [
        1,
        [
          { node: 'a', codes: ['log_replay_mismatch'] },
          { node: 'b', codes: ['clone_suspected'] },
        ],
      ],
    );
  });

  it('have a command for a node that has proven itself lately, or none', async () => {
    const late = now - unknownAfter - 1;
    const both = await gathered({ a: { unknown: {}, verifiedAt: late }, b: { unknown: {} } });
    assert.equal(both.items[0]?.command, 'assay reference capture b --name workers-2026-11-20 --staged');
    const none = await gathered({ a: { unknown: {}, verifiedAt: late } });
    assert.deepEqual([none.items[0]?.step, none.items[0]?.command], [null, null]);
  });

  it('have no command where a capture would be refused, or change nothing', async () => {
    for (const [unknown, policy, told] of [
      [{ lacks: 'no kernel was measured' }, policyOf(), /cannot be captured: no kernel/],
      [{}, { ...policyOf(), groups: [] }, /no group workers/],
    ] as const) {
      const { items } = await gathered({ a: { unknown } }, { policy });
      assert.deepEqual([items[0]?.step, items[0]?.command], [null, null]);
      assert.match(items[0]?.notes.join(' ') ?? '', told);
    }
  });

  it('have no command for rules of a firewall that break the policy: their node is no model', async () => {
    const commandOf = async (aspect: 'firewall' | 'runtime' | undefined, rules: KeptUnknown['rules']) => {
      const { items } = await gathered({ a: { unknown: { rules }, ...(aspect && { aspect }) } });
      return items[0]?.command ?? null;
    };
    assert.equal(await commandOf('firewall', ['fw_policy_open']), null);
    assert.match((await commandOf('firewall', [])) ?? '', /--kind firewall/);
    // What a capture takes nevertheless: the kernel's policy is in no list of files, and a boot is judged later.
    assert.match((await commandOf('runtime', ['ima_policy_weak'])) ?? '', /--kind runtime/);
    assert.match((await commandOf(undefined, ['cmdline_policy'])) ?? '', /capture a --name/);
  });

  it('are captured node by node where a reference counts for its own node alone, 64 at once', async () => {
    const { items } = await gathered(many(70, () => ({ unknown: { own: true } })));
    const [one] = items;
    assert.equal(items.length, 1);
    assert.equal(one?.command?.split(' ').filter((word) => word.startsWith('node-')).length, 64);
    assert.match(one?.notes.join(' ') ?? '', /64 nodes: ask again/);
  });

  it('are approved where a staged or retired reference has them, and by no other one', async () => {
    const stateOf = async (change: Partial<Reference>) => {
      const references = [{ ...referenceOf('next'), ...change }];
      const [one] = (await gathered({ a: { unknown: { knownBy: 'next' } } }, { references })).items;
      return [one?.step, one?.knownBy?.state];
    };
    assert.deepEqual(await stateOf({ state: 'staged' }), ['approve', 'staged']);
    assert.deepEqual(await stateOf({ state: 'retired' }), ['approve', 'retired']);
    assert.deepEqual(await stateOf({ state: 'active' }), [null, undefined]);
    for (const change of [
      { state: 'revoked' },
      { name: 'other' },
      { kind: 'firewall', state: 'staged' },
    ] as const)
      assert.deepEqual(await stateOf(change), ['capture', undefined]);
  });

  it('have a list made of a file in initrds, whatever references the policy names', async () => {
    const policy = policyOf('boot: {references: [model-1]}');
    const things = [{ what: 'file in the initrd', name: '/init', digest: null, more: 0 }];
    const unknown = { things, inInitrd: true, only: ['/init'] } as const;
    const found = async (more: Partial<KeptUnknown>, filter: CandidateFilter = {}) =>
      (await gathered({ a: { unknown: { ...unknown, ...more } } }, { policy, filter })).items[0];
    const one = await found({});
    assert.deepEqual(
      [one?.kind, one?.text],
      ['runtime', '1 node of group workers boots something unknown: file in the initrd'],
    );
    assert.match(
      one?.command ?? '',
      /^assay reference capture a --kind runtime --initrd --only \/init --name /,
    );
    assert.deepEqual(one?.notes, []);
    const { only: _, ...all } = unknown;
    const whole = (await gathered({ a: { unknown: all } })).items[0];
    assert.match(whole?.command ?? '', /--initrd --name /);
    assert.equal(whole?.notes.length, 1);
    assert.equal(await found({}, { kind: 'boot' }), undefined);
    assert.equal((await found({ lacks: 'it is setuid' }))?.command, null);
  });

  it('take the name that the policy compares the group with, where it names some', async () => {
    const policy = policyOf('boot: {references: [model-1, model-2]}');
    const nameWith = async (...names: readonly string[]) => {
      const references = names.map((name) => referenceOf(name));
      return (await gathered({ a: { unknown: {} } }, { policy, references })).items[0];
    };
    assert.equal((await nameWith())?.name, 'model-1');
    assert.equal((await nameWith('model-1'))?.name, 'model-2');
    const third = await nameWith('model-1', 'model-2');
    assert.equal(third?.name, 'workers-2026-11-20');
    assert.match(third?.notes.join(' ') ?? '', /name this one in it/);
    assert.deepEqual((await nameWith())?.notes, []);
    // The first one has the name of the policy, and those of the other nodes have none of it.
    const each = (
      await gathered(
        many(3, () => ({ unknown: { own: true } })),
        { policy },
      )
    ).items[0];
    assert.equal(each?.name, 'model-1');
    assert.match(each?.notes.join(' ') ?? '', /name all/);
  });

  it('are so many at most, those of most nodes first, and the rest is counted', async () => {
    const nodes = many(400, (index) => ({ unknown: { set: setNumber(Math.max(0, index - 99)) } }));
    const found = await gathered(nodes);
    assert.deepEqual([found.items.length, found.more], [256, { candidates: 45, nodes: 45 }]);
    assert.deepEqual([found.items[0]?.nodes.length, found.unknown], [100, 400]);
    assert.equal(new Set(found.items.map(({ name }) => name)).size, 256);
  });

  it('are chosen by group and kind', async () => {
    const nodes = { a: { unknown: {} }, b: { unknown: {}, verdict: { ...drifting, group: 'edge' } } };
    const chosen = async (filter: CandidateFilter) =>
      (await gathered(nodes, { filter })).items.map((one) => one.nodes);
    assert.deepEqual(await chosen({ group: 'edge' }), [['b']]);
    assert.deepEqual(await chosen({ kind: 'runtime' }), []);
    assert.equal((await chosen({ kind: 'boot' })).length, 2);
  });

  /** Of a node that ran files which no reference has. */
  const ofFiles = async (change: Partial<KeptUnknown>) => {
    const memory = { unknown: { runtime: { ...kernel, ...change, codes: ['ima_unknown_file'] } } };
    const { items } = await gatherCandidates({
      statuses: () => [{ name: 'a', verdict: drifting, verifiedAt: now, memory }],
      store: { list: async () => [] },
      policy: () => policyOf(),
      directory: null,
      now: () => now,
      unknownAfter,
    });
    return items[0] ?? assert.fail();
  };

  it('say of files which ones, as one word each for a shell', async () => {
    const { command, notes } = await ofFiles({ only: ['/opt/a b', "/opt/$(reboot)'"] });
    assert.equal(
      command,
      `assay reference capture a --kind runtime --only '/opt/a b' --only '/opt/$(reboot)'\\''' --name workers-runtime-2026-11-20 --staged`,
    );
    assert.deepEqual(notes, []);
  });

  it('say where a capture takes files that are not listed (row 187)', async () => {
    const { command, notes } = await ofFiles({});
    assert.equal(
      command,
      'assay reference capture a --kind runtime --name workers-runtime-2026-11-20 --staged',
    );
    assert.match(notes.join(' '), /all that a ran, also what is not listed here/);
  });
});

describe('a free name for a reference', () => {
  it('is valid, whatever the group is called, and given once', () => {
    const names = new FreeNames([]);
    const made = ['workers', 'w'.repeat(63), '-_-', 'ä/b c', '', 'workers', 'workers'].map((group) =>
      names.makeFor(group, 'runtime', now),
    );
    for (const name of made) assert.equal(plainName.parse(`${name}-64`), `${name}-64`);
    assert.equal(new Set(made).size, made.length);
  });

  it('is that of no reference, nor of one that a capture of several nodes would make', () => {
    for (const taken of ['workers-2026-11-20', 'workers-2026-11-20-2', 'workers-2026-11-20-64'])
      assert.equal(new FreeNames([taken]).makeFor('workers', 'boot', now), 'workers-2026-11-20a');
    const names = new FreeNames(['x']);
    assert.deepEqual([names.take('x'), names.take('y'), names.take('y')], [false, true, false]);
  });
});
