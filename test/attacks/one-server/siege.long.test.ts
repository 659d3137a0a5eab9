import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { trials } from '../../trials.ts';
import { besiegeOneServer } from './siege.ts';

/** The test after it kills once more. */
const often = trials(2);
const program = join(import.meta.dirname, '../main.ts');

/** Each test goes on where the one before it ended. */
describe('a server that is killed under load, again and again', function () {
  this.timeout(300_000);
  let work = '';
  before(async () => {
    work = await mkdtemp(join(tmpdir(), 'assay-killed-'));
  });
  after(() => rm(work, { recursive: true, force: true }));

  const besiege = (rounds: number, resumes: boolean) =>
    besiegeOneServer({
      ...{ work, rounds, resumes, seed: 'npm test' },
      signal: new AbortController().signal,
      note: () => {},
    });

  it('has all that it acknowledged after each start: verdicts, audit log, tokens, references, approvals (row 395)', async () => {
    const { faults, rounds, acknowledged } = await besiege(often, false);
    assert.deepEqual(faults, []);
    assert.equal(rounds, often);
    assert.ok(acknowledged > 0);
  });

  it('goes on where the last run ended, and no node is greener than what it was told or has shown since (row 396)', async () => {
    await checkpointed(join(work, 'state'));
    await cp(join(work, 'state/assay.db'), join(work, 'older.db'));
    const { faults, rounds, rounds_in_all } = await besiege(1, true);
    assert.deepEqual(faults, []);
    assert.deepEqual([rounds, rounds_in_all], [1, often + 1]);
  });

  it('is found out where a state, a token or an older copy of the store takes the place of what was acknowledged', async () => {
    const state = join(work, 'state');
    await checkpointed(state);
    await cp(join(work, 'older.db'), join(state, 'assay.db'));
    const { faults } = await besiege(1, true);
    assert.ok(
      faults.some(({ text }) => text.startsWith('audit: ')),
      JSON.stringify(faults),
    );
  });

  it('is told by a command that knows its arguments', async () => {
    const says = async (...args: readonly string[]) =>
      await run(process.execPath, [program, ...args], { timeoutMs: 60_000, maxOutputBytes: 64 * 1024 });
    assert.match(String((await says('one-server', '--help')).stdout), /--resume[\s\S]*Ends with 0/);
    for (const args of [['one-server', '--rounds', '0'], ['two-servers']])
      await assert.rejects(says(...args), (error) => error instanceof ToolError && error.exitCode === 2);
  });
});

/** All of it in one file. */
async function checkpointed(stateDir: string): Promise<void> {
  const database = new DatabaseSync(join(stateDir, 'assay.db'));
  database.exec('pragma wal_checkpoint(truncate)');
  database.close();
}
