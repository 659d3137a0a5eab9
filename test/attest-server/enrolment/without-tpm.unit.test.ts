import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { MachinesWithoutTpm } from '../../../attest-server/enrolment/without-tpm.ts';

describe('machines that say they have no TPM', () => {
  let now: number;
  let absent: RegExp;
  let machines: MachinesWithoutTpm;
  beforeEach(() => {
    now = 0;
    absent = /^gpu-/;
    machines = new MachinesWithoutTpm({
      absentBy: (node) => (absent.test(node) ? { group: 'gpu', mode: 'observe', policy: 'p@0' } : null),
      now: () => now,
    });
  });
  const names = () => machines.list().map(({ name }) => name);

  it('are listed only where policy says so too', () => {
    assert.deepEqual([machines.note('gpu-1'), machines.note('node-1')], [true, false]);
    assert.deepEqual(machines.list(), [{ name: 'gpu-1', group: 'gpu', mode: 'observe', policy: 'p@0' }]);
  });

  it('are gone once policy says so no longer, and after a day of silence', () => {
    machines.note('gpu-1');
    machines.note('gpu-2');
    absent = /^gpu-2/;
    assert.deepEqual(names(), ['gpu-2']);
    now = 24 * 60 * 60 * 1000 + 1;
    assert.deepEqual(names(), []);
  });

  it('take no more memory, however many names somebody makes up', () => {
    for (let count = 0; count < 5000; count++) machines.note(`gpu-${count}`);
    assert.equal(names().length, 1024);
    machines.note('gpu-4999');
    assert.equal(names().at(-1), 'gpu-4999');
  });
});
