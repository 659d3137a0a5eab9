import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openReserve } from '../../../attest-server/state/reserve.ts';

describe('the room that is kept on the disk', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-reserve-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('is taken, given back, and taken again, and found at the next start', () => {
    const reserve = openReserve(dir);
    assert.deepEqual([reserve.isTaken, reserve.take(), reserve.isTaken], [false, true, true]);
    const { size, mode, blocks } = statSync(join(dir, 'reserve'));
    assert.deepEqual([mode & 0o777, blocks * 512 >= size, size > 0], [0o600, true, true]);
    assert.equal(openReserve(dir).isTaken, true);
    reserve.free();
    assert.equal(reserve.isTaken, false);
    assert.equal(openReserve(dir).isTaken, false);
    assert.equal(reserve.take(), true);
  });

  it('is not taken for whole where half of it is there', () => {
    writeFileSync(join(dir, 'reserve'), 'x', { mode: 0o600 });
    const reserve = openReserve(dir);
    assert.deepEqual([reserve.isTaken, reserve.take()], [false, true]);
  });

  it('is not taken from a file that is open to others', () => {
    writeFileSync(join(dir, 'reserve'), 'x');
    chmodSync(join(dir, 'reserve'), 0o644);
    assert.throws(() => openReserve(dir), /open to others/);
  });
});
