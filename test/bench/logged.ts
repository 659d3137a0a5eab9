import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { EnrolledNode } from '../../attest-server/enrolment/ports.ts';
import type { Store } from '../../attest-server/store/open.ts';
import {
  madeBlob,
  madeEvent,
  madeNode,
  madeRecord,
  madeRepeat,
} from '../attest-server/store/made-records.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { inFolder } from './attestation.ts';
import { sized } from './sized.ts';

/** Bytes that a verdict like the one before writes to SQLite's write-ahead log, which has whole pages. */
export interface LoggedFigures {
  /** Of 5,000 nodes at 1,000 a second: 256 are committed together. */
  readonly in_batches: number;
  /** At 5 a second: 4 are. */
  readonly alone: number;
  /** Of the evidence that each brings, as under `strict`. */
  readonly evidence: number;
}

const nodes = sized(5_000, 20);
const evidenceBytes = 4_545;

export const benchLogged = (): Promise<LoggedFigures> =>
  inFolder(async (stateDir) => {
    const path = join(stateDir, 'assay.db');
    await using store = await openMadeStore(path);
    const fleet = Array.from({ length: nodes }, (_, index) => madeNode(`node-${index}`));
    for (const node of fleet) await store.enrolment.enrol(node, madeEvent('enrol', node.name));
    // Nodes answer in another order than that in which they came.
    fleet.sort((one, other) => (one.ekDigest < other.ekDigest ? -1 : 1));
    await Promise.all(fleet.map((node) => store.verdicts.recordChange(madeRecord(node, 1_000))));
    await repeat(store, fleet, 256, 2_000);
    // Its snapshot keeps the log from being begun anew, so that all of it can be counted.
    using reader = new DatabaseSync(path);
    reader.exec('pragma wal_checkpoint(truncate); begin');
    reader.prepare('select 1 from nodes').get();
    const logged = async (batch: number, at: number) => {
      const log = `${path}-wal`;
      const before = statSync(log).size;
      await repeat(store, fleet, batch, at);
      return Math.round((statSync(log).size - before) / nodes);
    };
    return { in_batches: await logged(256, 3_000), alone: await logged(4, 4_000), evidence: evidenceBytes };
  });

async function repeat(store: Store, fleet: readonly EnrolledNode[], batch: number, at: number) {
  for (let first = 0; first < fleet.length; first += batch) {
    const written = fleet.slice(first, first + batch).map((node) => {
      const own = madeBlob(randomBytes(evidenceBytes).toString('hex').slice(0, evidenceBytes));
      const evidence = { own, shared: [] };
      return store.verdicts.recordRepeat({ ...madeRepeat(node, at), evidenceDigest: own.digest, evidence });
    });
    await store.verdicts.settled();
    await Promise.all(written);
  }
}
