import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { ClusterCheckpoint } from '../../../attest-server/audit/cluster-checkpoint.ts';
import { type Audit, openAudit } from '../../../attest-server/audit/open.ts';
import { auditFigures, auditReport } from '../../../attest-server/audit/telemetry.ts';
import { openCustody } from '../../../attest-server/custody/open.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { parseCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { madeTelemetry } from '../telemetry/made-telemetry.ts';

/** The ConfigMap, as the API of a cluster has it. */
class MadeConfigMap {
  data: Readonly<Record<string, string>> | null = null;
  readonly writes: string[] = [];
  fault: ClusterError | null = null;

  async read() {
    if (this.fault !== null) throw this.fault;
    return this.data;
  }

  async write(data: Readonly<Record<string, string>>) {
    if (this.fault !== null) throw this.fault;
    this.data = { ...this.data, ...data };
    this.writes.push(data.checkpoint ?? '');
  }
}

describe('a checkpoint in the cluster', () => {
  let keeper: MadeConfigMap;
  let time: number;
  let rolledBack: boolean;
  let said: string[];
  let kept: ClusterCheckpoint;

  const open = () =>
    new ClusterCheckpoint({
      keeper,
      compare: async (note) => ({
        isOwn: note.startsWith('own'),
        contradiction: note === 'own of before' ? 'the log ends before it' : null,
      }),
      isRolledBack: () => rolledBack,
      monotonic: () => time,
      report: {
        contradictedByCluster: (text) => said.push(text),
        checkpointKept: (error) => said.push(error === null ? 'kept' : error.message),
      },
    });
  const turn = (ms: number) => {
    time += ms;
    return kept.turn();
  };

  beforeEach(() => {
    keeper = new MadeConfigMap();
    time = 0;
    rolledBack = false;
    said = [];
    kept = open();
  });

  it('is written at most once a minute, and the latest one wins', async () => {
    kept.signed('own 1');
    await turn(0);
    for (let count = 2; count <= 60; count += 1) {
      kept.signed(`own ${count}`);
      await turn(1000);
    }
    assert.deepEqual(keeper.writes, ['own 1']);
    await turn(1000);
    await turn(600_000);
    assert.deepEqual(keeper.writes, ['own 1', 'own 60']);
    kept.signed('own 61');
    await kept.close();
    assert.deepEqual(keeper.writes, ['own 1', 'own 60', 'own 61']);
  });

  it('is tried again where the API takes it not, and is not written before the one that is there was read', async () => {
    keeper.data = { checkpoint: 'own of before', note: 'of a person' };
    keeper.fault = new ClusterError('unreachable', 'no answer');
    kept.signed('own 1');
    await turn(0);
    await turn(1000);
    assert.deepEqual(said, ['no answer']);
    keeper.fault = null;
    rolledBack = true;
    await turn(60_000);
    assert.deepEqual(said, ['no answer', 'the log ends before it']);
    // The proof stays until a person has explained it.
    kept.signed('own 2');
    await turn(600_000);
    assert.equal(keeper.data.checkpoint, 'own of before');
    rolledBack = false;
    await turn(60_000);
    assert.deepEqual(keeper.data, { checkpoint: 'own 2', note: 'of a person' });
  });

  it('reports one of another log once, and keeps it beside its own', async () => {
    keeper.data = { checkpoint: `assay/other\u001b[2J\n${'x'.repeat(1_000_000)}` };
    kept.signed('own 1');
    await turn(0);
    assert.equal(said.length, 2);
    assert.match(said[0] ?? '', /no key of this log signed \(assay\/other\\u001b\[2J\)/);
    assert.equal(keeper.data.checkpoint, 'own 1');
    assert.equal(keeper.data.replaced?.length, 4096);
    kept = open();
    kept.signed('own 2');
    await turn(60_000);
    assert.equal(said.length, 3);
  });

  it('does not hold the end of the server where the API hangs', async () => {
    kept = new ClusterCheckpoint({
      keeper: { read: () => new Promise(() => {}), write: async () => {} },
      compare: async () => ({ isOwn: true, contradiction: null }),
      isRolledBack: () => false,
      monotonic: () => 0,
      report: { contradictedByCluster: () => assert.fail(), checkpointKept: () => assert.fail() },
    });
    kept.signed('own 1');
    void kept.turn();
    await kept.close(20);
  });
});

describe('a server whose database was put back', () => {
  let folder: string;
  let keeper: MadeConfigMap;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'assay-kept-'));
    keeper = new MadeConfigMap();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function start(
    database: string,
    state = 'state',
  ): Promise<{ store: Store; audit: Audit; text(): Promise<string> }> {
    const store = await openMadeStore(join(folder, database, 'assay.db'));
    const logger = pino({ level: 'silent' });
    const telemetry = madeTelemetry({ logger, now: Date.now });
    const audit = await openAudit({
      store,
      stateDir: join(folder, state),
      keys: openCustody(join(folder, state), join(folder, state)).audit,
      now: Date.now,
      monotonic: () => performance.now(),
      keeper,
      logger,
      report: auditReport(telemetry.reporting),
    });
    telemetry.auditTo(audit);
    auditFigures(telemetry.reporting.figures, audit);
    return { store, audit, text: () => telemetry.scraped.text() };
  }

  it('is told so by the checkpoint that its cluster kept, though its own mark was put back, too', async () => {
    mkdirSync(join(folder, 'state'), { mode: 0o700 });
    const first = await start('state');
    await first.store.audit.append(madeEvent('enrol', 'node-1'));
    await first.audit[Symbol.asyncDispose]();
    await first.store[Symbol.asyncDispose]();
    cpSync(join(folder, 'state'), join(folder, 'copy'), { recursive: true });
    const second = await start('state');
    for (let count = 0; count < 5; count += 1)
      await second.store.audit.append(madeEvent('enrol.revoke', 'node-1'));
    await second.audit[Symbol.asyncDispose]();
    await second.store[Symbol.asyncDispose]();
    const { size } = parseCheckpoint(keeper.data?.checkpoint ?? '');
    assert(size > 5);
    // The whole folder of before, with its mark: nothing on this disk knows what came after.
    rmSync(join(folder, 'state'), { recursive: true });
    cpSync(join(folder, 'copy'), join(folder, 'state'), { recursive: true });
    const restored = await start('state');
    try {
      const end = Date.now() + 10_000;
      while (restored.audit.ports.rollback() === null && Date.now() < end)
        await new Promise((resolve) => setTimeout(resolve, 20));
      assert.match(restored.audit.ports.rollback() ?? '', /audit_rollback/);
      assert.match(await restored.text(), /^assay_refusals_total\{code="audit_rollback"\} 1$/m);
      assert.equal(parseCheckpoint(keeper.data?.checkpoint ?? '').size, size);
      await restored.audit.ports.resolve('token:admin', 'the disk was restored');
    } finally {
      await restored.audit[Symbol.asyncDispose]();
      const entries = await restored.store.audit.entries({ limit: 100 });
      await restored.store[Symbol.asyncDispose]();
      assert.deepEqual(
        entries.filter(({ action }) => action === 'audit_rollback').map(({ actor, code }) => [actor, code]),
        [['cluster', 'audit_rollback']],
      );
    }
    assert(parseCheckpoint(keeper.data?.checkpoint ?? '').size < size);
  });
});
