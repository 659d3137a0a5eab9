import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import { chainEntry } from '../../../attest-server/audit/chain.ts';
import { createRefusalBook } from '../../../attest-server/audit/refusals.ts';
import { openBooks } from '../../../attest-server/audit/running-log.ts';
import { openStore } from '../../../attest-server/store/open.ts';
import { madeEvent } from '../store/made-records.ts';

describe('the books of a running server', () => {
  it('are not filled, nor is the log, by a stranger who shows again and again what they lost', async () => {
    const stateDir = await mkdtemp(join(tmpdir(), 'assay-books-'));
    const lines: string[] = [];
    const logger = pino({ base: null, level: 'info' }, { write: (line: string) => void lines.push(line) });
    const refused: string[] = [];
    const open = async () => {
      const store = await openStore(':memory:', { chain: chainEntry });
      const metrics = { refused: (code: string) => void refused.push(code), checkpointed: () => {} };
      const parts = { store, stateDir, now: () => 0, metrics, logger, refusalBook: createRefusalBook() };
      return { store, running: await openBooks({ ...parts, fault: assert.ifError }) };
    };
    try {
      const before = await open();
      const event = madeEvent('refuse', 'x');
      for (let entry = 0; entry < 50; entry += 1) await before.store.audit.append(event);
      await before.running.close();
      const witness = before.running.books.shown?.checkpoint ?? assert.fail();
      const after = await open();
      const entries = async () => (await after.store.audit.entries({ limit: 99 })).length;
      const [counted, written, told] = [refused.length, await entries(), lines.length];
      for (let hello = 0; hello < 20; hello += 1) await after.running.meetWitness('node-1', witness);
      assert.deepEqual(
        [refused.length - counted, (await entries()) - written, lines.length - told],
        [20, 1, 1],
      );
      await after.running.close();
    } finally {
      await rm(stateDir, { recursive: true });
    }
  });
});
