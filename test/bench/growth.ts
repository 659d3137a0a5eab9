import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Attestation } from '../../attest-server/attest/attestation.ts';
import { chainEntry } from '../../attest-server/audit/chain.ts';
import { keptContext } from '../../attest-server/evidence/pack.ts';
import { InForce } from '../../attest-server/in-force/in-force.ts';
import { formatCheckpoint } from '../../attest-server/protocol/checkpoint.ts';
import type { Parts } from '../../attest-server/protocol/evidence.ts';
import { openStore, type Store } from '../../attest-server/store/open.ts';
import { madeMachine, madePorts } from '../attest-server/attest/made-machine.ts';
import { bootPolicy } from '../attest-server/boot-policy.ts';
import { madeAuditKey, madeOrigin } from '../attest-server/protocol/made-audit-key.ts';
import { inFolder } from './attestation.ts';
import { model, populate } from './population.ts';

/** Bytes that the database grows by, for each node and each day, where every verdict is like the one before. */
export interface GrowthFigures {
  readonly bytes_per_node_and_day: number;
  readonly history: number;
  /** Entries and checkpoints. */
  readonly audit: number;
  readonly answers: number;
  /** Written over, not grown. */
  readonly statuses: number;
  /** What many share, indices included. */
  readonly others: number;
  readonly seconds: number;
}

const nodes = 100;
const minute = 60_000;
/** Nodes begin within the first hour, each at a minute of its own; the day is counted from its end. */
const begins = 61;
const day = 24 * 60;

const groups: Readonly<Record<string, 'history' | 'audit' | 'answers' | 'statuses'>> = {
  history: 'history',
  history_by_node: 'history',
  audit: 'audit',
  checkpoints: 'audit',
  answers: 'answers',
  latest_answers: 'statuses',
  latest_answers_by_node: 'statuses',
  sqlite_autoindex_latest_answers_1: 'statuses',
  statuses: 'statuses',
  sqlite_autoindex_statuses_1: 'statuses',
};

/** A day of a fleet that is asked each minute, by a clock that does not wait. */
export async function benchGrowth(): Promise<GrowthFigures> {
  return await inFolder(async (stateDir) => {
    const machines = (await populate(stateDir, nodes, 'p256')).map(({ name, tpm }) => madeMachine(name, tpm));
    const started = performance.now();
    await using store = await openStore(join(stateDir, 'assay.db'), { chain: chainEntry });
    let now = 0;
    const references = await store.references.list();
    const inForce = new InForce(bootPolicy, references, keptContext);
    const ports = madePorts(store, { now: () => now, monotonic: () => now, inForce: () => inForce });
    const attestation = await Attestation.open(ports, null);
    let before = new Map<string, number>();
    for (let round = 0; round <= begins + day; round += 1) {
      now = round * minute;
      for (const [index, machine] of machines.entries()) {
        if (round < index % 60) continue;
        const answer = machine.answer(now, {
          pcrs: { sha256: model.sha256 },
          occasion: { bootLog: model.log },
        });
        const sent = round === index % 60 ? answer : { ...answer, parts: named(answer.parts) };
        const judged = await attestation.judge(machine.node, sent);
        if (!('state' in judged) || judged.state !== 'trusted')
          throw new Error(`${machine.node.name} is not trusted`);
      }
      await attestation.idle();
      await checkpoint(store);
      if (round === begins) before = sizes(stateDir);
    }
    const grown = { history: 0, audit: 0, answers: 0, statuses: 0, others: 0 };
    for (const [name, bytes] of sizes(stateDir))
      grown[groups[name] ?? 'others'] += (bytes - (before.get(name) ?? 0)) / nodes;
    const all = Object.values(grown).reduce((sum, bytes) => sum + bytes, 0);
    return {
      bytes_per_node_and_day: Math.round(all),
      history: Math.round(grown.history),
      audit: Math.round(grown.audit),
      answers: Math.round(grown.answers),
      statuses: Math.round(grown.statuses),
      others: Math.round(grown.others),
      seconds: Math.round((performance.now() - started) / 1000),
    };
  });
}

/** As the server signs each minute in which an entry was added. */
async function checkpoint({ audit }: Store): Promise<void> {
  await audit.addCheckpoint(({ size, head }) =>
    formatCheckpoint({ origin: madeOrigin, size, head }, madeAuditKey()),
  );
}

/** Bytes of each table and index in the file, once the write-ahead log is in it. */
function sizes(stateDir: string): Map<string, number> {
  const database = new DatabaseSync(join(stateDir, 'assay.db'), { timeout: 5_000 });
  try {
    database.exec('pragma wal_checkpoint(truncate)');
    const rows = database.prepare('select name, sum(pgsize) as bytes from dbstat group by name').all();
    return new Map(rows.map(({ name, bytes }) => [String(name), Number(bytes)]));
  } finally {
    database.close();
  }
}

/** The server holds the log: it is named alone. */
function named({ boot }: Parts): Parts {
  return boot === undefined ? {} : { boot: { digest: boot.digest, bytes: null } };
}
