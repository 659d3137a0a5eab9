import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openState, StateInUse } from '../../../attest-server/state/open.ts';

describe('a state folder', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-state-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('is had by one at a time, who is named, and is free again when it is given back (row 127)', async () => {
    {
      await using _first = await openState(dir);
      await assert.rejects(openState(dir), (error) => {
        assert(error instanceof StateInUse);
        assert.deepEqual([error.dir, error.pid], [dir, process.pid]);
        return true;
      });
    }
    await using _second = await openState(dir);
  });

  it('does not name a process that is gone', async () => {
    await using _first = await openState(dir);
    // As one that was killed left it, before the next one wrote its own number.
    writeFileSync(join(dir, 'lock'), '4194999\n');
    await assert.rejects(openState(dir), (error) => error instanceof StateInUse && error.pid === null);
  });

  it('is not locked through a link that somebody else left there (row 74)', async () => {
    symlinkSync(join(dir, 'elsewhere'), join(dir, 'lock'));
    await assert.rejects(openState(dir), (error) => !(error instanceof StateInUse));
  });

  it('tells when a server last ran there', async () => {
    const lastAlive = async (now: number) => {
      await using state = await openState(dir);
      await state.beat(now);
      return state.lastAlive;
    };
    assert.equal(await lastAlive(1_000), null);
    assert.equal(await lastAlive(5_000), 1_000);
    assert.equal(await lastAlive(6_000), 5_000);
    utimesSync(join(dir, 'alive'), 7, 7);
    assert.equal(await lastAlive(8_000), 7_000);
  });
});
