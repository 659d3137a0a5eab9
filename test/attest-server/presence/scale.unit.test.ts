import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { attestReport } from '../../../attest-server/attest/telemetry.ts';
import { presenceFigures } from '../../../attest-server/presence/telemetry.ts';
import { assertCases, assertFires, type Scraped } from '../../manifests/promtool.ts';
import { trials } from '../../trials.ts';
import { madeEvent, madeNode, madeStatus, madeVerdict } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { madeTelemetry } from '../telemetry/made-telemetry.ts';
import { day, Fleet, minute } from './made-fleet.ts';

const times = trials(10);
const scaled = Array.from({ length: 100 }, (_, index) => `scaled-${index}`);
const steady = ['steady-1', 'steady-2'];
const instance = 'assay:9464';

describe('a fleet that is scaled up and down', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'assay-presence-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('of a hundred nodes, time and again, wakes nobody, and nothing grows but the audit log', async function () {
    this.timeout(180_000);
    const path = join(folder, 'state', 'assay.db');
    const fleet = await Fleet.open(path);
    const { reporting, scraped: metrics } = madeTelemetry({
      unenrolled: () => fleet.presence.figures().unenrolled(),
    });
    presenceFigures(reporting.figures, () => fleet.presence.figures());
    const { answered } = attestReport(reporting, { recorded() {}, failed() {} });
    metrics.ready(true);
    const scrapes: ReadonlyMap<string, string>[] = [];
    const scrape = async () => {
      metrics.nodeStates(await fleet.views());
      const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('assay_'));
      scrapes.push(
        new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.split(' ').at(-1) ?? ''])),
      );
    };
    const minutes = async (count: number) => {
      for (let passed = 0; passed < count; passed += 1) {
        await fleet.pass(minute);
        for (const _ of fleet.connected) answered(madeVerdict('trusted'));
        await scrape();
      }
    };
    await fleet.enrol(...steady, ...scaled);
    await fleet.up(...steady);
    let before: Readonly<Record<string, number>> = {};
    for (let time = 0; time < times; time += 1) {
      await fleet.up(...scaled);
      await fleet.look();
      assert.equal((await fleet.listed()).length, steady.length + scaled.length);
      fleet.down(...scaled);
      // The first two are watched from minute to minute, as Prometheus does.
      if (time < 2) await minutes(14);
      else await fleet.pass(14 * minute, 2 * minute);
      assert.deepEqual(await fleet.listed(), ['steady-1 trusted', 'steady-2 trusted']);
      await fleet.attestation.idle();
      const rows = rowsOf(path);
      // From the second time on, each node has its first verdict and its latest.
      if (time > 1) assert.deepEqual({ ...rows, audit: 0 }, { ...before, audit: 0 }, `time ${time}`);
      before = rows;
    }
    assert.equal((await gone(fleet)).length, times * scaled.length);
    const last = scrapes.at(-1) ?? assert.fail();
    assert.equal([...last.keys()].filter((series) => series.includes('scaled-')).length, 0);
    assert.equal(last.get('assay_nodes{state="unknown"}'), '0');
    assert.equal(last.get('assay_nodes_gone'), '100');
    const fires = Object.fromEntries([5, 9, 12, 14, 20, 27].map((at) => [`${at}m`, []]));
    await assertCases([{ name: 'scaled', scraped: seriesOf(scrapes), fires }]);
    await fleet.close();
  });

  it('wakes somebody where nodes fall silent that their cluster still has', async () => {
    const fleet = await Fleet.open();
    const { scraped: metrics } = madeTelemetry({ perNode: false });
    await fleet.enrol('node-1', 'node-2', 'node-3', 'node-4');
    await fleet.up('node-1', 'node-2', 'node-3', 'node-4');
    for (const name of ['node-1', 'node-2']) fleet.connected.delete(name);
    const scrapes: ReadonlyMap<string, string>[] = [];
    for (let passed = 0; passed < 15; passed += 1) {
      await fleet.pass(minute);
      metrics.nodeStates(await fleet.views());
      const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('assay_nodes'));
      scrapes.push(
        new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.split(' ').at(-1) ?? ''])),
      );
    }
    const series: Scraped = [...seriesOf(scrapes), [`assay_build_info{instance="${instance}"}`, '1x60']];
    const silent = { alert: 'AssayManyNodesSilent', labels: { instance }, value: '2' };
    await assertFires(series, '14m', [silent]);
    await fleet.close();
  });
});

describe('ten thousand archived nodes', () => {
  it('cost a start neither time nor memory', async function () {
    this.timeout(120_000);
    const folder = mkdtempSync(join(tmpdir(), 'assay-presence-'));
    const path = join(folder, 'state', 'assay.db');
    const count = 10_000;
    try {
      const store = await openMadeStore(path);
      const nodes = Array.from({ length: 10 }, (_, index) => madeNode(`node-${index}`));
      for (const node of nodes) await store.enrolment.enrol(node, madeEvent('enrol', node.name));
      await Promise.all(
        nodes.map((node) => {
          const status = madeStatus(node, madeVerdict('unknown', 'evidence_overdue'), 1000);
          return store.verdicts.recordChange({ status, at: 1000, evidence: [], history: [], audit: [] });
        }),
      );
      await store.presence.noteNodes(nodes.map(({ ekDigest }) => ekDigest));
      await store[Symbol.asyncDispose]();
      const few = await started(path);
      copyArchived(path, count);
      const many = await started(path);
      assert.deepEqual([few.nodes, many.nodes], [10, 10]);
      assert.ok(many.bytes - few.bytes < 8_000_000, `${few.bytes} and ${many.bytes} bytes`);
      assert.ok(many.ms - few.ms < 1000, `${few.ms} and ${many.ms} ms`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** What is read at a start, how much of it stays in memory, and the CPU time that it takes. */
async function started(path: string): Promise<{ nodes: number; bytes: number; ms: number }> {
  const before = heldBytes();
  const at = process.cpuUsage();
  const store = await openMadeStore(path);
  const kept = [await store.presence.load(), await store.verdicts.statuses(), await store.enrolment.nodes()];
  const { user, system } = process.cpuUsage(at);
  const bytes = heldBytes() - before;
  await store[Symbol.asyncDispose]();
  return { nodes: Math.max(...kept.map(({ length }) => length)), bytes, ms: (user + system) / 1000 };
}

/** Without the garbage of other tests. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
}

/** The record and the status of one node, under other names, as of nodes that were gone for long. */
function copyArchived(path: string, count: number): void {
  const database = new DatabaseSync(path);
  const columns = (table: string) =>
    database
      .prepare('select name from pragma_table_info(?)')
      .all(table)
      .map(({ name }) => String(name));
  const others: Readonly<Record<string, string>> = {
    ek_digest: "printf('%064x', n)",
    key_digest: "printf('k%063x', n)",
    ak_name: "printf('a%063x', n)",
    name: "'archived-' || n",
    node: "'archived-' || n",
  };
  for (const table of ['nodes', 'statuses', 'proofs']) {
    const all = columns(table);
    const values = all.map((column) => others[column] ?? column).join(', ');
    database.exec(
      `with recursive counted (n) as (select 1 union all select n + 1 from counted where n < ${count})
       insert into ${table} (${all.join(', ')})
       select ${values} from counted, (select * from ${table} limit 1)`,
    );
  }
  database.exec(
    `insert into presence (ek_digest, missing_since, gone_at, archived_at)
     select ek_digest, 1, 2, ${30 * day} from nodes where name like 'archived-%'`,
  );
  database.close();
}

const tables = ['nodes', 'statuses', 'history', 'evidence', 'answers', 'proofs', 'presence', 'audit'];

function rowsOf(path: string): Readonly<Record<string, number>> {
  const database = new DatabaseSync(path, { readOnly: true });
  const rows = tables.map((table) => [
    table,
    Number(database.prepare(`select count(*) as count from ${table}`).get()?.count),
  ]);
  database.close();
  return Object.fromEntries(rows);
}

async function gone(fleet: Fleet): Promise<readonly string[]> {
  const found: string[] = [];
  for (let after = 0; ; ) {
    const entries = await fleet.store.audit.entries({ after, limit: 1000 });
    found.push(...entries.filter(({ action }) => action === 'node.gone').map(({ subject }) => subject));
    const last = entries.at(-1);
    if (last === undefined) return found;
    after = last.seq;
  }
}

/** As Prometheus has them: a value each minute, and `_` where there was none. */
function seriesOf(scrapes: readonly ReadonlyMap<string, string>[]): Scraped {
  const names = new Set(scrapes.flatMap((scrape) => [...scrape.keys()]));
  return [...names]
    .filter((name) => !name.includes('_bucket{'))
    .map((name) => {
      const labels = name.includes('{')
        ? `{instance="${instance}",${name.slice(name.indexOf('{') + 1)}`
        : `{instance="${instance}"}`;
      const values = scrapes.map((scrape) => scrape.get(name) ?? '_').join(' ');
      return [`${name.split('{', 1)[0]}${labels}`, values] as const;
    });
}
