import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { describe, it } from 'mocha';
import type { AuditEvent } from '../../../attest-server/protocol/audit.ts';
import type { Reference } from '../../../attest-server/protocol/reference.ts';
import type { ReferenceAction } from '../../../attest-server/protocol/reference-life.ts';
import { createReferenceLife } from '../../../attest-server/references/life.ts';
import { referenceOf } from '../http/api-fixture.ts';

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
    store: {
      list: async () => world.references,
      add: async (added, event) => {
        world.references.push(added);
        world.events.push(event);
      },
      update: async (changed, event) => {
        await setImmediate();
        world.references[0] = changed;
        world.events.push(event);
      },
    },
    now: () => 0,
    separate,
    changed: async () => {
      world.changes += 1;
    },
  });
  return { world, life };
}

describe('the life of a reference', () => {
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
  ];
  for (const [action, from, to] of table)
    it(`${action} of one that is ${from} ${to === null ? 'is refused, and changes nothing' : `makes it ${to}`}`, async () => {
      const { world, life } = lifeOf(from);
      const done = life.change('workers-1', action, 'because', 'token:bob');
      if (to === null) await assert.rejects(done, { name: 'NotNow' });
      else assert.equal((await done)?.state, to);
      assert.equal(world.references[0]?.state, to ?? from);
      assert.deepEqual(
        world.events.map(({ actor, action: done, detail }) => [actor, done, detail]),
        to === null ? [] : [['token:bob', `reference.${action}`, { from, to, reason: 'because' }]],
      );
      assert.equal(world.changes, to === null ? 0 : 1);
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
    assert.equal((await life.change('workers-1', 'approve', 'because', 'token:bob'))?.state, 'active');
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
