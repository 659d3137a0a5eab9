import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { describe, it } from 'mocha';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import type { Reference, ReferenceAction } from '../../../attest-server/formats/reference.ts';
import { createReferenceLife } from '../../../attest-server/references/life.ts';
import { referenceOf } from '../http/api-fixture.ts';
import { filesReference } from '../policy/made-files.ts';
import { policyOf } from '../policy/made-proof.ts';

interface World {
  readonly references: Reference[];
  readonly events: AuditEvent[];
  changes: number;
}

const captured = { by: 'token:ann', node: 'node-1', at: '2026-01-01T00:00:00.000Z' };

function lifeOf(state: Reference['state'], separate = false) {
  const world: World = {
    references: [{ ...referenceOf('workers-1'), state, captured }],
    events: [],
    changes: 0,
  };
  const life = createReferenceLife({
    directory: null,
    store: {
      list: async () => world.references,
      add: async (added, event) => {
        world.references.push(added);
        world.events.push(event);
      },
      update: async (changed, event) => {
        await setImmediate();
        world.references[world.references.findIndex(({ name }) => name === changed.name)] = changed;
        world.events.push(event);
      },
      remove: async (_name, event) => {
        world.references.length = 0;
        world.events.push(event);
      },
    },
    now: () => 0,
    separate,
    policy: () => policyOf('require: [identity, boot]'),
    changed: async () => {
      world.changes += 1;
    },
  });
  return { world, life };
}

describe('the life of a reference', () => {
  it('lets others go on while a long list is taken in, and while it is compared with another one', async () => {
    const { world, life } = lifeOf('active');
    const paths = Array.from({ length: 100_000 }, (_, index) => `/${index}`);
    world.references.push(filesReference('old', paths));
    let turns = 0;
    let isDone = false;
    const others = async () => {
      for (; !isDone; turns++) await setImmediate();
    };
    const told = others();
    await life.add(filesReference('new', paths), 'ann');
    const whileAdded = turns;
    await life.change('old', 'revoke', 'bad', 'ann');
    isDone = true;
    await told;
    assert.ok(whileAdded >= 10, `${whileAdded} turns while it was taken in`);
    assert.ok(turns - whileAdded >= 20, `${turns - whileAdded} turns while it was compared`);
  });

  const table: readonly (readonly [ReferenceAction, Reference['state'], Reference['state'] | null])[] = [
    ['approve', 'staged', 'active'],
    ['approve', 'retired', 'active'],
    ['approve', 'active', null],
    ['approve', 'revoked', null],
    ['retire', 'staged', 'retired'],
    ['retire', 'active', 'retired'],
    ['retire', 'retired', null],
    ['retire', 'revoked', null],
    ['revoke', 'staged', 'revoked'],
    ['revoke', 'active', 'revoked'],
    ['revoke', 'retired', 'revoked'],
    ['revoke', 'revoked', null],
    ['restore', 'staged', null],
    ['restore', 'active', null],
    ['restore', 'retired', null],
    // Nobody knows what it was.
    ['restore', 'revoked', 'retired'],
  ];
  for (const [action, from, to] of table)
    it(`${action} of one that is ${from} ${to === null ? 'is refused, and changes nothing' : `makes it ${to}`}`, async () => {
      const { world, life } = lifeOf(from);
      const done = life.change('workers-1', action, 'because', 'token:bob');
      if (to === null) await assert.rejects(done, { name: 'NotNow' });
      else assert.equal((await done)?.reference.state, to);
      assert.equal(world.references[0]?.state, to ?? from);
      assert.deepEqual(
        world.events.map(({ actor, action: done, detail }) => [actor, done, detail]),
        to === null
          ? []
          : [['token:bob', `reference.${action}`, { kind: 'boot', from, to, reason: 'because' }]],
      );
      assert.equal(world.changes, to === null ? 0 : 1);
    });

  for (const state of ['staged', 'active', 'retired', 'revoked'] as const) {
    const may = state === 'staged' || state === 'retired';
    it(`delete of one that is ${state} ${may ? 'removes it, with a word in the audit log' : 'is refused'}`, async () => {
      const { world, life } = lifeOf(state);
      const done = life.remove('workers-1', 'because', 'token:bob');
      if (may) assert.equal(await done, true);
      else await assert.rejects(done, { name: 'NotNow' });
      assert.equal(world.references.length, may ? 0 : 1);
      assert.equal(world.changes, may ? 1 : 0);
      assert.deepEqual(
        world.events.map(({ actor, action, subject, detail }) => [actor, action, subject, detail]),
        may
          ? [
              [
                'token:bob',
                'reference.delete',
                'workers-1',
                { kind: 'boot', state, group: 'workers', reason: 'because' },
              ],
            ]
          : [],
      );
    });
  }

  const expected = { nodes: ['node-1'], reason: 'update', until: 3_600_000 };
  for (const state of ['staged', 'active', 'retired', 'revoked'] as const)
    it(`announces one that is ${state}${state === 'staged' ? ', with a word in the audit log' : ': no, it is refused'}`, async () => {
      const { world, life } = lifeOf(state);
      const done = life.announce('workers-1', expected, 'token:bob');
      if (state !== 'staged') {
        await assert.rejects(done, { name: 'NotNow' });
        assert.deepEqual([world.events, world.changes], [[], 0]);
        return;
      }
      assert.deepEqual((await done)?.announced, {
        nodes: ['node-1'],
        by: 'token:bob',
        at: '1970-01-01T00:00:00.000Z',
        until: '1970-01-01T01:00:00.000Z',
        reason: 'update',
      });
      assert.deepEqual(
        world.events.map(({ actor, action }) => [actor, action]),
        [['token:bob', 'reference.announce']],
      );
      assert.equal(world.changes, 1);
    });

  for (const action of ['approve', 'retire', 'revoke'] as const)
    it(`ends an announcement by ${action}`, async () => {
      const { world, life } = lifeOf('staged');
      await life.announce('workers-1', expected, 'token:bob');
      await life.change('workers-1', action, 'because', 'token:bob');
      assert.equal(world.references[0]?.announced, undefined);
    });

  it('ends an announcement once', async () => {
    const { world, life } = lifeOf('staged');
    await life.announce('workers-1', expected, 'token:bob');
    await life.endAnnouncement('workers-1', 'token:bob');
    assert.equal(world.references[0]?.announced, undefined);
    await assert.rejects(life.endAnnouncement('workers-1', 'token:bob'), { name: 'NotNow' });
  });

  it('wants another person to announce what one captured, where approvals are separate', async () => {
    const { world, life } = lifeOf('staged', true);
    await assert.rejects(life.announce('workers-1', expected, 'token:ann'), { code: 'role_denied' });
    assert.deepEqual(world.events, []);
    assert.ok(await life.announce('workers-1', expected, 'token:bob'));
  });

  it('deletes none that is announced: until that ends, it counts', async () => {
    const { world, life } = lifeOf('staged');
    await life.announce('workers-1', expected, 'token:bob');
    await assert.rejects(life.remove('workers-1', 'because', 'token:bob'), { name: 'NotNow' });
    assert.equal(world.references.length, 1);
    await life.endAnnouncement('workers-1', 'token:bob');
    assert.equal(await life.remove('workers-1', 'because', 'token:bob'), true);
  });

  it('announces a change of any kind alone, where approvals are separate: that makes nobody trusted', async () => {
    const { world, life } = lifeOf('staged', true);
    world.references[0] = { ...(world.references[0] ?? assert.fail()), pcrs: {}, events: [] };
    assert.ok(await life.announce('workers-1', expected, 'token:ann'));
  });

  it('approves none that says nothing of a boot', async () => {
    const { world, life } = lifeOf('staged');
    world.references[0] = { ...(world.references[0] ?? assert.fail()), pcrs: {}, events: [] };
    await assert.rejects(life.change('workers-1', 'approve', 'because', 'token:bob'), { name: 'NotNow' });
    assert.deepEqual(world.events, []);
  });

  const announcements: readonly (readonly [string[] | null, string[] | null, boolean])[] = [
    [['node-1'], ['node-2'], false],
    [['node-1'], ['node-1', 'node-2'], true],
    [['node-1'], null, true],
    [null, ['node-1'], false],
    [null, null, true],
  ];
  for (const [before, nodes, isTaken] of announcements)
    it(`${isTaken ? 'takes' : 'refuses'} an announcement for ${nodes ?? 'all'} after one for ${before ?? 'all'}: who is in the middle of an update stays so`, async () => {
      const { world, life } = lifeOf('staged');
      await life.announce('workers-1', { ...expected, nodes: before }, 'token:bob');
      const done = life.announce('workers-1', { ...expected, nodes, reason: 'more' }, 'token:bob');
      if (isTaken) assert.deepEqual((await done)?.announced?.nodes, nodes);
      else {
        await assert.rejects(done, { name: 'NotNow' });
        assert.deepEqual(world.references[0]?.announced?.nodes, before);
        // Once it is over, nobody is left out.
        await life.endAnnouncement('workers-1', 'token:bob');
        assert.ok(await life.announce('workers-1', { ...expected, nodes }, 'token:bob'));
      }
    });

  it('takes no announcement from a file', async () => {
    const { world, life } = lifeOf('staged');
    const announced = {
      nodes: null,
      by: 'x',
      at: captured.at,
      until: '2030-01-01T00:00:00.000Z',
      reason: 'x',
    };
    await life.add({ ...referenceOf('other'), announced }, 'token:bob');
    assert.equal(world.references[1]?.announced, undefined);
  });

  it('deletes nothing where there is none of that name', async () => {
    const { world, life } = lifeOf('retired');
    assert.equal(await life.remove('workers-2', 'because', 'token:bob'), false);
    assert.deepEqual([world.events, world.references.length], [[], 1]);
  });

  for (const from of ['staged', 'active', 'retired'] as const)
    it(`restores one that was revoked while it was ${from} to that, and keeps who took the latest step, and why`, async () => {
      const { world, life } = lifeOf(from);
      await life.change('workers-1', 'revoke', 'mistaken', 'token:bob');
      const at = new Date(0).toISOString();
      const revoked = { action: 'revoke', by: 'token:bob', at, reason: 'mistaken', from } as const;
      assert.deepEqual(world.references[0]?.changed, revoked);
      await life.change('workers-1', 'restore', 'sorry', 'token:eve');
      assert.equal(world.references[0]?.state, from);
      const restored = { action: 'restore', by: 'token:eve', at, reason: 'sorry', from: 'revoked' };
      assert.deepEqual(world.references[0]?.changed, restored);
      const { actor, action, detail } = world.events.at(-1) ?? assert.fail();
      assert.deepEqual([actor, action], ['token:eve', 'reference.restore']);
      assert.deepEqual(detail, { kind: 'boot', from: 'revoked', to: from, reason: 'sorry' });
      // What was restored is revoked again like any other, and the way back leads to the same state.
      await life.change('workers-1', 'revoke', 'bad after all', 'token:bob');
      assert.equal((await life.change('workers-1', 'restore', 'no', 'token:eve'))?.reference.state, from);
    });

  it('asks for two persons to restore what was in force, where approvals are separate', async () => {
    const { world, life } = lifeOf('active', true);
    await life.change('workers-1', 'revoke', 'mistaken', 'token:ann');
    await assert.rejects(life.change('workers-1', 'restore', 'sorry', 'token:ann'), { code: 'role_denied' });
    assert.equal(world.references[0]?.state, 'revoked');
    assert.equal(
      (await life.change('workers-1', 'restore', 'so be it', 'token:bob'))?.reference.state,
      'active',
    );
  });

  it('lets nobody who brings a revoked reference say what it was before', async () => {
    const { world, life } = lifeOf('staged', true);
    const { at } = captured;
    const changed = { action: 'revoke', by: 'token:eve', at, reason: 'none', from: 'active' } as const;
    const brought: Reference = { ...referenceOf('workers-2'), state: 'revoked', captured, changed };
    assert.equal((await life.add(brought, 'token:ann')).changed, undefined);
    world.references.reverse();
    assert.equal((await life.change('workers-2', 'restore', 'now', 'token:eve'))?.reference.state, 'retired');
  });

  it('takes in none that has nothing of its kind, or something of another one', async () => {
    const { world, life } = lifeOf('staged');
    const rules = { 'iptables-save': '*filter\n:INPUT DROP [0:0]\nCOMMIT\n' };
    const empty: Reference = { ...referenceOf('rules'), kind: 'firewall' };
    for (const brought of [
      empty,
      { ...empty, kind: 'disk' as const },
      { ...referenceOf('b'), firewall: rules },
    ])
      await assert.rejects(life.add(brought, 'token:ann'), { name: 'NotNow' });
    assert.equal((await life.add({ ...empty, firewall: rules }, 'token:ann')).kind, 'firewall');
    assert.deepEqual(world.events.at(-1)?.detail, {
      kind: 'firewall',
      state: empty.state,
      group: empty.group,
    });
  });

  it('says in the audit log and in its answer which active references affirm what was revoked', async () => {
    const { world, life } = lifeOf('staged');
    for (const [name, state] of [
      ['workers-2', 'active'],
      ['workers-3', 'active'],
      ['workers-4', 'retired'],
    ] as const)
      world.references.push({ ...referenceOf(name), state });
    const done = await life.change('workers-1', 'revoke', 'mistaken', 'token:bob');
    assert.deepEqual(
      done?.sharedWith.map(({ name, whole }) => [name, whole]),
      [
        ['workers-2', true],
        ['workers-3', true],
      ],
    );
    const detail = {
      kind: 'boot',
      from: 'staged',
      to: 'revoked',
      reason: 'mistaken',
      affirmedBy: 'workers-2 workers-3',
    };
    assert.deepEqual(world.events.at(-1)?.detail, detail);
  });

  it('knows none of another name', async () => {
    assert.equal(await lifeOf('staged').life.change('workers-2', 'approve', 'because', 'token:bob'), null);
  });

  it('asks for two persons where approvals are separate', async () => {
    const { world, life } = lifeOf('staged', true);
    await assert.rejects(life.change('workers-1', 'approve', 'because', 'token:ann'), {
      code: 'role_denied',
    });
    assert.deepEqual([world.references[0]?.state, world.changes], ['staged', 0]);
    assert.equal(
      (await life.change('workers-1', 'approve', 'because', 'token:bob'))?.reference.state,
      'active',
    );
  });

  it('lets no step that began before a revocation undo it', async () => {
    for (const other of ['approve', 'retire'] as const) {
      const { world, life } = lifeOf('staged');
      const steps = [life.change('workers-1', 'revoke', 'bad', 'token:ann')];
      steps.push(life.change('workers-1', other, 'because', 'token:bob'));
      const [revoked, undone] = await Promise.allSettled(steps);
      assert.deepEqual([revoked?.status, undone?.status], ['fulfilled', 'rejected']);
      assert.equal(world.references[0]?.state, 'revoked');
    }
  });

  it('takes in a revoked reference as revoked, also where approvals are separate', async () => {
    const { life } = lifeOf('active', true);
    for (const state of ['revoked', 'retired', 'staged'] as const) {
      const brought: Reference = { ...referenceOf(`workers-${state}`), state, captured };
      assert.equal((await life.add(brought, 'token:bob')).state, state);
    }
  });

  it('takes in a reference under the name of whoever brings it, staged where approvals are separate', async () => {
    for (const separate of [false, true]) {
      const { world, life } = lifeOf('active', separate);
      const brought: Reference = { ...referenceOf('workers-2'), state: 'active', captured };
      const added = await life.add(brought, 'token:bob');
      assert.deepEqual([added.captured?.by, added.state], ['token:bob', separate ? 'staged' : 'active']);
      await assert.rejects(life.add(brought, 'token:bob'), { name: 'NotNow' });
      assert.equal(world.references.length, 2);
    }
  });
});
