import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { chainEntry } from '../../../attest-server/audit/chain.ts';
import { startAnew } from '../../../attest-server/audit/start-anew.ts';
import { openCustody } from '../../../attest-server/custody/open.ts';
import { parseCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { ekDigestOf } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const counter = 'assay_refusals_total{code="audit_rollback"}';

describe('the agent program beside a server whose audit log is changed (row 104)', () => {
  let machine: FixtureMachine;
  let folder: string;
  before(async () => {
    machine = await startMachine({ log: recordedLog('debian13-shim-grub') });
  });
  after(() => machine?.dispose());

  it('tells of a tail that was cut, while it is connected and when it comes again', async function () {
    this.timeout(60_000);
    await withWorld(async (world) => {
      const agent = startProgram(world);
      await keptSize(world, 5);
      const state = (await world.status('node-1'))?.state;
      change(world, (database) => database.exec('delete from audit where seq > 2'));
      await world.call('GET', '/v1/audit/checkpoints');
      world.server.challengeNow();
      await world.until(() => agent.said().includes('"code":"audit_rollback"'), 10_000);
      const told = await world.until(
        async () =>
          (await world.audit()).find((entry) => entry.action === 'refuse' && entry.code === 'audit_rollback'),
        10_000,
      );
      assert.equal(told.subject, 'node-1');
      assert((await world.metric(counter)) >= 1);
      assert.equal((await world.status('node-1'))?.state, state);
      const kept = await keptSize(world, 5);
      await agent.stop();

      const before = await world.metric(counter);
      const again = startProgram(world);
      await world.until(() => again.said().includes('"code":"verdict"'), 10_000);
      await again.stop();
      assert((await world.metric(counter)) > before);
      assert((await keptSize(world, 5)) >= kept);
    });
  });

  it('shows the server by its hello that the log was written anew', async function () {
    this.timeout(60_000);
    await withWorld(async (world) => {
      const agent = startProgram(world);
      await keptSize(world, 5);
      await agent.stop();
      const [before, state] = [await world.metric(counter), (await world.status('node-1'))?.state];
      change(world, rewriteAll);
      const again = startProgram(world);
      const told = await world.until(
        async () => (await world.audit()).find((entry) => entry.actor === 'agent:node-1'),
        10_000,
      );
      assert.deepEqual([told.action, told.code], ['audit_rollback', 'audit_rollback']);
      assert((await world.metric(counter)) > before);
      assert.equal((await world.status('node-1'))?.state, state);
      await world.until(() => again.said().includes('"code":"verdict"'), 10_000);
      await again.stop();
    });
  });

  it('tells once of a log with a new origin, as after a lost key, and witnesses that one from then on', async function () {
    this.timeout(60_000);
    await withWorld(async (world) => {
      const agent = startProgram(world);
      await keptSize(world, 5);
      await world.server.close();
      await rm(join(world.stateDir, 'audit.key'));
      const { store, stateDir } = world;
      await startAnew({
        store: store.audit,
        keys: openCustody(stateDir, stateDir).audit,
        actor: 'user:root',
        reason: 'the disk broke',
        at: Date.now(),
      });
      await world.restart();
      const told = await world.until(
        async () =>
          (await world.audit()).find((entry) => entry.action === 'refuse' && entry.code === 'audit_rollback'),
        20_000,
      );
      assert.equal(told.subject, 'node-1');
      await world.until(() => agent.said().includes('"code":"audit_rollback"'), 10_000);
      await agent.stop();
      assert.equal(await world.metric(counter), 1);
      const [kept, earlier] = ['audit-checkpoint.json', 'audit-checkpoint.earlier.json'];
      const originIn = async (file: string) =>
        parseCheckpoint(JSON.parse(await readFile(join(folder, 'state', file), 'utf8')).checkpoint).origin;
      const origins = await world.store.audit.origins();
      assert.deepEqual(
        [await originIn(earlier), await originIn(kept)],
        origins.map(({ origin }) => origin),
      );
      const again = startProgram(world);
      await world.until(() => again.said().includes('"code":"verdict"'), 10_000);
      await again.stop();
      assert.equal(await world.metric(counter), 1);
    });
  });

  async function withWorld(work: (world: TestServer) => Promise<void>): Promise<void> {
    folder = await mkdtemp(join(tmpdir(), 'assay-rollback-'));
    await using world = await startTestServer({ policy: 'observe', challengeEvery: 0.2 });
    await world.pin('node-1', await ekDigestOf(machine));
    // The first checkpoint that the agent sees is long enough: it writes the next one five seconds later.
    for (let entry = 0; entry < 5; entry += 1) await world.joinToken('other');
    await world.call('GET', '/v1/audit/checkpoints');
    try {
      await work(world);
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  /** Waits until the agent has on its disk a checkpoint of at least so many entries. */
  function keptSize(world: TestServer, least: number): Promise<number> {
    return world.until(async () => {
      await world.call('GET', '/v1/audit/checkpoints');
      const text = await readFile(join(folder, 'state', 'audit-checkpoint.json'), 'utf8').catch(() => null);
      const size = text === null ? 0 : parseCheckpoint(JSON.parse(text).checkpoint).size;
      return size >= least ? size : null;
    }, 20_000);
  }

  function startProgram({ server }: TestServer) {
    const agent = start(process.execPath, [programs['assay-agent'], 'run'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ASSAY_AGENT_SERVERS: `127.0.0.1:${server.agentPort}`,
        ASSAY_AGENT_NODE: 'node-1',
        ASSAY_AGENT_TCTI: machine.tpm.tcti,
        ASSAY_AGENT_STATE_DIR: join(folder, 'state'),
        ASSAY_AGENT_CA_FILE: server.caFile,
        ASSAY_AGENT_SYSROOT: machine.sysroot,
      },
    });
    const closed = once(agent, 'close');
    let said = '';
    agent.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    return {
      said: () => said,
      async stop() {
        agent.kill('SIGTERM');
        await closed;
      },
    };
  }
});

/** What somebody with the server's files does: the checkpoints go too. */
function change({ stateDir }: TestServer, tamper: (database: DatabaseSync) => void): void {
  const database = new DatabaseSync(join(stateDir, 'assay.db'), { timeout: 5_000 });
  database.exec('begin immediate');
  const triggers = database.prepare("select name, sql from sqlite_master where type = 'trigger'").all();
  for (const { name } of triggers) database.exec(`drop trigger ${name}`);
  tamper(database);
  database.exec('delete from checkpoints');
  for (const { sql } of triggers) database.exec(String(sql));
  database.exec('commit');
  database.close();
}

function rewriteAll(database: DatabaseSync): void {
  const update = database.prepare('update audit set actor = ?, prev = ?, hash = ? where seq = ?');
  let prev = '0'.repeat(64);
  for (const row of database.prepare('select * from audit order by seq').all()) {
    const entry = chainEntry(prev, Number(row.seq), {
      at: Number(row.at),
      actor: 'somebody else',
      action: String(row.action),
      subject: String(row.subject),
      code: row.code === null ? null : String(row.code),
      detail: JSON.parse(String(row.detail)),
    });
    update.run('somebody else', prev, entry.hash, entry.seq);
    prev = entry.hash;
  }
}
