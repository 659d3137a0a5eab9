import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { checkpointPage } from '../../../attest-server/api/audit-pages.ts';
import type { AuditLogResult } from '../../../attest-server/cli/offline/audit/verify-log.ts';
import { startAuditLogAnew } from '../../../attest-server/commands/audit-key.ts';
import { startFault } from '../../../attest-server/start-fault.ts';
import { parseCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { programs } from '../../programs.ts';
import { enrolledNode, introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const program = programs['assay-server'];
const rollbacks = 'assay_refusals_total{code="audit_rollback"}';

describe('a server whose audit key is lost', () => {
  const key = ({ stateDir }: TestServer) => join(stateDir, 'audit.key');

  /** Ends the server, and its key with it. */
  async function lose(world: TestServer): Promise<void> {
    await world.server.close();
    rmSync(key(world));
  }

  /** As a person does on that machine, once the server was stopped. */
  async function startAnew({ stateDir }: TestServer): Promise<string> {
    const anew = ['audit-key', '--start-anew', '--reason', 'the disk broke'];
    const args = [program, '--state-dir', stateDir, ...anew];
    const { stdout } = await run(process.execPath, args, { timeoutMs: 30_000, maxOutputBytes: 4096 });
    return stdout.toString('utf8');
  }
  const exited = (code: number, text: RegExp) => (error: unknown) =>
    error instanceof ToolError && error.exitCode === code && text.test(error.message);
  /** The same, which fails, in this process. */
  const cannotStartAnew = ({ stateDir }: TestServer, text: RegExp, reason = 'the disk broke') =>
    assert.rejects(startAuditLogAnew({ stateDir, keysDir: stateDir }, reason), (error) => {
      const said = startFault(error);
      return said.exitCode === 1 && text.test(said.text);
    });

  const verify = async ({ stateDir }: TestServer, ...more: readonly string[]) => {
    const { code, out } = await runAssay([
      'audit',
      'verify',
      join(stateDir, 'assay.db'),
      '-o',
      'json',
      ...more,
    ]);
    return { code, result: JSON.parse(out) as AuditLogResult };
  };

  it('does not start, and goes on with a new origin once a person says so, who stands in the audit log', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, 'node-1');
    const old = checkpointPage.parse(await world.call('GET', '/v1/audit/checkpoints'));
    const witness = old.items.at(-1) ?? assert.fail();
    await lose(world);
    await assert.rejects(world.restart(), /--start-anew/);

    assert.match(await startAnew(world), /^the audit log is signed by the key [0-9a-f]{8} of assay\//);
    await world.restart();
    const entries = await world.audit();
    const entry = entries.find(({ action }) => action === 'audit_key.start_anew') ?? assert.fail();
    assert.match(entry.actor, /^(user|uid):./);
    const now = checkpointPage.parse(await world.call('GET', '/v1/audit/checkpoints'));
    assert.notEqual(now.origin, old.origin);
    assert.deepEqual(now.earlier, [{ origin: old.origin, keys: old.keys }]);
    assert.deepEqual(
      [entry.subject, entry.detail.reason, entry.detail.after],
      [now.origin, 'the disk broke', old.origin],
    );
    // It is the first entry that the new key signs, and nothing after the old key’s last word but it.
    const first = now.items.map(parseCheckpoint).find(({ origin }) => origin === now.origin);
    assert.equal(first?.size, entry.seq);
    assert(Number(entry.detail.signed) >= parseCheckpoint(witness).size);

    // No false alarm of the server’s own, also beside an agent that kept what the lost key signed.
    assert.equal(await world.metric(rollbacks), 0);
    const peer = await introduce(world, tpm, 'node-1', { hello: { checkpoint: witness } });
    await peer.challenge();
    await peer.close();
    assert.equal(await world.metric(rollbacks), 0);
  });

  it('leaves what it signed open to verification, as far as it goes', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    const old = checkpointPage.parse(await world.call('GET', '/v1/audit/checkpoints'));
    const note = join(world.stateDir, 'note');
    writeFileSync(note, old.items.at(-1) ?? '');
    await lose(world);
    await startAnew(world);
    const { code, result } = await verify(world, '--checkpoint', note);
    assert.deepEqual([code, result.ok, result.witnessed, result.signed], [0, true, true, result.size]);
    assert.deepEqual(
      result.earlier.map(({ origin }) => origin),
      [old.origin],
    );
    assert((result.earlier[0]?.signed ?? 0) > 0);
    // A change below what the lost key signed shows by its checkpoints.
    change(world, "update audit set actor = 'somebody else' where seq = 2");
    assert.deepEqual((await verify(world)).result.fault?.seq, 2);
  });

  it('covers no log with a new key that the lost one did not sign', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    await lose(world);
    change(world, 'delete from audit where seq > 1');
    await cannotStartAnew(world, /audit_rollback/);
    await assert.rejects(world.restart(), /--start-anew/);
  });

  it('is none where the key is there, a server runs, no reason is given, or there is no database', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await assert.rejects(
      startAnew(world),
      (error) =>
        exited(1, new RegExp(`\\b${process.pid}\\b`))(error) && String(error).includes(world.stateDir),
    );
    await world.server.close();
    await cannotStartAnew(world, /exists/);
    rmSync(key(world));
    for (const reason of ['', ' ', 'a\nb', 'x'.repeat(201)]) await cannotStartAnew(world, /--reason/, reason);
    const args = [program, '--state-dir', world.stateDir, 'audit-key', '--start-anew'];
    const bounds = { timeoutMs: 30_000, maxOutputBytes: 4096 };
    await assert.rejects(run(process.execPath, args, bounds), exited(2, /--reason/));
    renameSync(join(world.stateDir, 'assay.db'), join(world.stateDir, 'elsewhere.db'));
    await cannotStartAnew(world, /assay\.db/);
    assert.equal((await world.audit()).filter(({ action }) => action === 'audit_key.start_anew').length, 0);
  });
});

function change({ stateDir }: TestServer, statement: string): void {
  const database = new DatabaseSync(join(stateDir, 'assay.db'), { timeout: 5_000 });
  database.exec('drop trigger audit_is_never_edited; drop trigger audit_is_never_shortened');
  database.exec(statement);
  database.close();
}
