import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { ContestedMarks, ContestedNodes } from '../../../attest-server/marking/contested-node.ts';

const second = 1000;
const minute = 60 * second;

describe('marks that somebody else keeps changing', () => {
  let marks: ContestedMarks;
  beforeEach(() => {
    marks = new ContestedMarks();
  });
  /** So many changes, each as soon as the one before is put back: seconds that each stays. */
  function fought(changes: number, change: (at: number) => void): readonly number[] {
    let at = 0;
    return Array.from({ length: changes }, () => {
      change(at);
      const wait = (marks.putBackAt ?? assert.fail()) - at;
      at += wait;
      marks.succeeded();
      assert.equal(marks.putBackAt, null);
      return wait / second;
    });
  }

  it('are put back at once twice, then ever later, five minutes at most', () => {
    const tampered = (at: number) => marks.tampered(at, 7);
    assert.deepEqual(fought(12, tampered), [0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert.equal(marks.tamperedAt, 7);
  });

  it('are put back later, and without a word of tampering, where a controller restores its startup taint', () => {
    assert.deepEqual(
      fought(7, (at) => marks.startupTaintRestored(at)),
      [10, 20, 40, 80, 160, 300, 300],
    );
    assert.equal(marks.tamperedAt, null);
  });

  it('are put back within five seconds where they take trust away', () => {
    for (let i = 0; i < 9; i++) marks.tampered(0, 0);
    marks.hasten(minute);
    assert.equal(marks.putBackAt, minute + 5 * second);
    marks.hasten(minute + second);
    assert.equal(marks.putBackAt, minute + 5 * second);
  });

  it('begin anew after ten minutes of peace', () => {
    for (let i = 0; i < 9; i++) marks.tampered(0, 0);
    marks.tampered(11 * minute, 0);
    assert.equal(marks.putBackAt, 11 * minute);
  });
});

describe('the record of who contests a node', () => {
  it('is one for marks and resource, of which a Node that is made anew keeps the latter alone', () => {
    const nodes = new ContestedNodes();
    const backOff = { retryAt: (failures: number) => failures };
    const { marks, resource } = nodes.of('node-1');
    for (const writes of [marks, resource, resource]) writes.failed(backOff);
    assert.deepEqual([marks.notBefore, resource.notBefore], [1, 2]);
    nodes.renewed('node-1');
    assert.equal(nodes.of('node-1').marks.failures, 0);
    assert.equal(nodes.of('node-1').resource, resource);
    nodes.forget('node-1');
    assert.equal(nodes.of('node-1').resource.failures, 0);
  });
});
