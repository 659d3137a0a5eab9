import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { createAdvise } from '../../../attest-server/http/advise.ts';
import { isReady } from '../../../attest-server/http/probes.ts';
import type { AdviceContext } from '../../../attest-server/wire/advice.ts';
import { reasonOf } from './api-fixture.ts';

describe('what the API says beside what rooms say', () => {
  const asked: AdviceContext[] = [];
  const advise = createAdvise({
    nextStep: (_reason, known) => {
      asked.push(known);
      return 'step';
    },
    serverFault: (node) => (node === 'node-1' ? 'disk_full' : null),
    faultAdvice: (cause) => `about ${cause}`,
    isDeclared: (reference) => reference === 'from-git',
    directory: '/etc/declared',
  });

  it('advises on a fault of the server by its cause, where the node is known', () => {
    const fault = { ...reasonOf('server_fault'), next: '' };
    assert.equal(advise(fault, { node: 'node-1' }), 'about disk_full');
    assert.equal(advise(fault, { node: 'node-2' }), 'about internal');
    assert.equal(advise(fault, {}), 'step');
  });

  it('names the signed directory where that says what the reference is, and there alone', () => {
    asked.length = 0;
    const reason = { ...reasonOf('kernel_unknown'), next: '' };
    advise({ ...reason, outOfForce: 'from-git' }, { node: 'node-1' });
    advise({ ...reason, outOfForce: 'by-hand' }, { node: 'node-1' });
    advise(reason, { node: 'node-1' });
    assert.deepEqual(
      asked.map(({ declaredIn }) => declaredIn),
      ['/etc/declared', null, null],
    );
  });

  it('is ready where every room is, and says what the first says that is not', () => {
    const ready = { ok: true, reason: null };
    const rolledBack = { ok: true, reason: 'the log is another one' };
    const isFull = { ok: false, reason: 'the disk is full' };
    const isOver = { ok: false, reason: 'the certificate ended' };
    const of = (...rooms: readonly (typeof isFull | typeof ready)[]) =>
      isReady(rooms.map((room) => () => room));
    assert.deepEqual(of(ready, ready), ready);
    assert.deepEqual(of(ready, rolledBack), rolledBack);
    assert.deepEqual(of(rolledBack, isFull, isOver), isFull);
  });
});
