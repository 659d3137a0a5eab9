import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { StorageFault } from '../../../attest-server/formats/server-fault.ts';
import { type Health, openHealth } from '../../../attest-server/health/open.ts';
import { openReserve, type Reserve } from '../../../attest-server/state/reserve.ts';

describe('whether the server can store', () => {
  let dir = '';
  let reserve: Reserve;
  let health: Health;
  let said: string[] = [];
  let write: () => Promise<void>;
  /** Free within the database. */
  let own = 0;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-health-'));
    reserve = openReserve(dir);
    said = [];
    write = async () => {};
    own = 0;
    health = openHealth({
      state: { dir, reserve },
      now: () => 0,
      report: {
        storageFailed: (cause, _error, isNew) => said.push(`${cause} ${isNew}`),
        storageWorks: ({ cause }) => said.push(`over: ${cause}`),
      },
    });
    health.probeBy(
      () => write(),
      () => own,
    );
  });
  afterEach(async () => {
    await health[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  async function until(isSo: () => boolean): Promise<void> {
    for (const end = performance.now() + 10_000; !isSo(); await sleep(20))
      assert(performance.now() < end, `${isSo}`);
  }

  it('is said from the write that fails to the one that works, though nobody else writes', async () => {
    assert.deepEqual(
      [health.fault(), health.ready(), reserve.isTaken],
      [null, { ok: true, reason: null }, true],
    );
    let attempts = 0;
    write = async () => {
      attempts += 1;
      if (attempts < 2) throw new StorageFault('disk_full');
    };
    health.failed(new Error('no', { cause: new StorageFault('disk_full') }));
    health.failed(new StorageFault('disk_full'));
    assert.equal(health.fault()?.storage, 'disk_full');
    assert.equal(health.ready().ok, false);
    assert.match(health.ready().reason ?? '', /full/);
    assert.deepEqual([health.isFull(), reserve.isTaken], [true, false]);
    await until(() => health.fault() === null);
    assert.deepEqual([attempts, reserve.isTaken], [2, true]);
    assert.deepEqual(said, ['disk_full true', 'disk_full false', 'over: disk_full']);
  });

  it('leaves machines none of the room that is for people, and keeps its own room; what is erased makes room', async () => {
    assert.equal(health.isLow(0), false);
    // As if all of the disk but a little were taken.
    const { bfree, bsize } = statfsSync(dir);
    own = 1024 - bfree * bsize;
    assert.equal(health.isLow(own), true);
    assert.deepEqual(
      [health.fault()?.storage, health.ready().ok, reserve.isTaken],
      ['disk_full', false, true],
    );
    assert.equal(health.isFull(), true);
    own = 0;
    await until(() => health.fault() === null);
    assert.deepEqual(said, ['disk_full true', 'over: disk_full']);
  });

  it('keeps its room where that is not what is missing', () => {
    health.failed(new StorageFault('read_only'));
    assert.deepEqual([health.isFull(), reserve.isTaken, health.fault()?.storage], [false, true, 'read_only']);
  });

  it('is not in doubt for a fault of the program', () => {
    health.failed(new TypeError('x is not a function'));
    assert.deepEqual([health.fault(), said], [null, []]);
  });

  it('opens what needs room with the room that is kept, once', async () => {
    const attempts: boolean[] = [];
    const opened = await health.opening(async () => {
      attempts.push(reserve.isTaken);
      if (attempts.length === 1) throw new StorageFault('disk_full');
      return 'opened';
    });
    assert.deepEqual([opened, attempts], ['opened', [true, false]]);
    await assert.rejects(
      health.opening(async () => {
        throw new StorageFault('disk_full');
      }),
      StorageFault,
    );
  });
});
