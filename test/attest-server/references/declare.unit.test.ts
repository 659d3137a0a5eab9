import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { type Declaration, declaredChanges } from '../../../attest-server/references/declare.ts';
import { referenceOf } from '../http/api-fixture.ts';

const at = Date.parse('2026-11-27T12:00:00Z');
const sha = (digit: string) => digit.repeat(64);
const file = (name: string, change: Partial<Reference> = {}): Reference => ({
  ...referenceOf(name),
  ...change,
});
const declaration = (
  serial: number,
  files: readonly (readonly [Reference, string])[],
  change: Partial<Declaration> = {},
): Declaration => ({
  serial,
  before: serial - 1,
  key: 'merge',
  at,
  restored: new Map(),
  references: files.map(([reference, digit]) => ({ reference, sha256: sha(digit) })),
  ...change,
});
/** As a server holds them once that is in force. */
const heldAfter = (held: readonly Reference[], given: Declaration): readonly Reference[] => {
  const changed = new Map(
    declaredChanges(held, given).map(({ reference }) => [reference.name, reference] as const),
  );
  const rest = held.filter(({ name }) => !changed.has(name));
  return [...rest, ...changed.values()];
};
const revokedBy = (reference: Reference, by: string): Reference => ({
  ...reference,
  state: 'revoked',
  changed: {
    action: 'revoke',
    by,
    at: '2026-11-27T12:00:00.000Z',
    reason: 'a hole',
    from: reference.state,
  },
});
const states = (held: readonly Reference[]) =>
  Object.fromEntries(held.map(({ name, state }) => [name, state]));

describe('what a signed directory changes of references', () => {
  const one = declaration(1, [[file('a', { state: 'active' }), '1']]);
  const first = heldAfter([], one);

  it('is nothing where its file is the same', () => {
    assert.deepEqual(declaredChanges(first, declaration(2, [[file('a', { state: 'active' }), '1']])), []);
  });

  it('leaves the rest as it is', () => {
    const other = file('made-here', { state: 'active' });
    assert.deepEqual(states(heldAfter([...first, other], declaration(2, [[file('b'), '2']]))), {
      'made-here': 'active',
      a: 'retired',
      b: file('b').state,
    });
  });

  it('says who did what: the key, the serial, and the state before', () => {
    const [change] = declaredChanges(first, declaration(2, [[file('a', { state: 'retired' }), '2']]));
    assert.deepEqual(change?.reference.declared, { key: 'merge', serial: 2, sha256: sha('2') });
    assert.deepEqual(change?.reference.changed, {
      action: 'retire',
      by: 'declared:merge',
      at: '2026-11-27T12:00:00.000Z',
      reason: 'serial 2 of the declared directory',
      from: 'active',
    });
    const { actor, action, subject, detail } = change?.audit ?? assert.fail();
    assert.deepEqual(
      [actor, action, subject, detail.from, detail.to, detail.serial],
      ['declared:merge', 'reference.declare', 'a', 'active', 'retired', 2],
    );
  });

  it('drops what a file says of steps that were taken elsewhere', () => {
    const forged = file('a', {
      state: 'active',
      changed: {
        action: 'approve',
        by: 'token:alice',
        at: '2026-01-01T00:00:00Z',
        reason: 'x',
        from: 'staged',
      },
      captured: { by: 'token:alice', node: 'node-1', at: '2026-01-01T00:00:00Z' },
      declared: { key: 'other', serial: 99, sha256: sha('9') },
    });
    const [held] = heldAfter([], declaration(1, [[forged, '1']]));
    assert.deepEqual(
      [held?.changed, held?.captured?.by, held?.captured?.node, held?.declared?.serial],
      [undefined, 'declared:merge', 'node-1', 1],
    );
  });

  it('takes a reference of that name over', () => {
    const made = file('a', { state: 'staged' });
    const [taken] = heldAfter([made], declaration(5, [[file('a', { state: 'active' }), '1']]));
    assert.deepEqual([taken?.state, taken?.declared?.serial], ['active', 5]);
  });

  describe('of one that a person revoked', () => {
    const [a = assert.fail()] = first;
    const held = [revokedBy(a, 'token:alice')];
    const next = (serial: number, digit: string, restored: readonly (readonly [string, number])[] = []) =>
      declaration(serial, [[file('a', { state: 'active' }), digit]], { restored: new Map(restored) });

    it('is that it stays revoked, whatever its file says', () => {
      const [second = assert.fail()] = heldAfter(held, next(2, '2'));
      assert.deepEqual([second.state, second.changed?.by], ['revoked', 'token:alice']);
      assert.equal(heldAfter([second], next(3, '3'))[0]?.state, 'revoked');
    });

    it('is that it counts where a later serial than that of the revocation takes it back by name', () => {
      assert.equal(heldAfter(held, next(2, '1', [['a', 2]]))[0]?.state, 'active');
      // A cluster that did not see serial 2.
      const missed = { ...next(4, '1', [['a', 2]]), before: 1 };
      assert.equal(heldAfter(held, missed)[0]?.state, 'active');
    });

    it('is nothing where the word is older than the revocation (row 250)', () => {
      assert.equal(heldAfter(held, next(4, '2', [['a', 3]]))[0]?.state, 'revoked');
      const undeclared = [revokedBy(file('a', { state: 'active' }), 'token:alice')];
      assert.equal(heldAfter(undeclared, next(4, '2', [['a', 3]]))[0]?.state, 'revoked');
      assert.equal(heldAfter(undeclared, next(4, '2', [['a', 4]]))[0]?.state, 'active');
    });

    it('is that it stays revoked when the directory has it no longer', () => {
      const gone = heldAfter(held, declaration(2, [[file('b'), '2']])).find(({ name }) => name === 'a');
      assert.deepEqual([gone?.state, gone?.declared], ['revoked', undefined]);
    });

    it('is what the file says by then, for who takes it back here', () => {
      const [second] = heldAfter(held, declaration(2, [[file('a', { state: 'retired' }), '2']]));
      assert.deepEqual([second?.state, second?.changed?.from], ['revoked', 'retired']);
    });
  });

  it('of one that it revoked itself is what its file says next', () => {
    const revoked = heldAfter(first, declaration(2, [[file('a', { state: 'revoked' }), '2']]));
    assert.deepEqual([revoked[0]?.state, revoked[0]?.changed?.by], ['revoked', 'declared:merge']);
    const again = heldAfter(revoked, declaration(3, [[file('a', { state: 'active' }), '1']]));
    assert.deepEqual([again[0]?.state, again[0]?.changed?.action], ['active', 'restore']);
  });
});
