import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { AgentError } from '../../../agent/agent-error.ts';
import {
  type KeptGateState,
  nothingKept,
  orderUnder,
  readKept,
  writeKept,
} from '../../../agent/gate/kept-order.ts';
import { openStateDir, type StateDir } from '../../../agent/state-dir.ts';

const kept: KeptGateState = {
  order: { mode: 'observe', timeout: 60, onTimeout: 'open' },
  authorities: ['a'.repeat(64)],
  untold: { type: 'opened', why: 'operator', bootId: 'b'.repeat(36), reason: 'why' },
};

describe('what a gate keeps', () => {
  let dir = '';
  let state: StateDir;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-gate-state-'));
    state = await openStateDir(join(dir, 'state'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('is read again as it was written, and nothing before', async () => {
    assert.deepEqual(await readKept(state), nothingKept);
    await writeKept(state, kept);
    assert.deepEqual(await readKept(state), kept);
  });

  it('counts only under an authority that vouched for the server which said it', () => {
    assert.deepEqual(orderUnder(kept, ['c'.repeat(64), 'a'.repeat(64)]), kept.order);
    assert.equal(orderUnder(kept, ['c'.repeat(64)]), null);
    assert.equal(orderUnder(nothingKept, ['a'.repeat(64)]), null);
  });

  it('is refused where it is damaged, and opens nothing then', async () => {
    for (const text of ['{', '{"order":{"mode":"open"}}', 'null']) {
      await writeFile(join(dir, 'state', 'gate.json'), text);
      await assert.rejects(
        readKept(state),
        (error) => error instanceof AgentError && error.code === 'state_dir',
      );
    }
  });
});
