import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type AuditRefusal, createRefusalLog } from '../../../attest-server/audit/refusals.ts';
import { formatCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { timings } from '../../../attest-server/wire/limits.ts';
import { reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { madeAuditKey, madeOrigin } from '../formats/made-audit-key.ts';
import { openMadeStore } from '../store/made-store.ts';

const day = 24 * 3600 * 1000;

describe('a day of refusals by strangers, as the audit log keeps it (rows 119 and 120)', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-strangers-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  for (const [what, from] of [
    [
      'of one source with texts of 240 KB',
      (n: number) => ({ ...stranger(n, 'x'.repeat(240_000)), address: '192.0.2.1' }),
    ],
    ['of many sources with short texts', (n: number) => stranger(n, 'no')],
    ['of many sources with long texts and names', (n: number) => stranger(n, '"\u{ffff}'.repeat(4_000))],
  ] as const)
    it(`takes less than 1 MB, with checkpoints and counts: ${what}`, async function () {
      this.timeout(60_000);
      const path = join(dir, 'assay.db');
      await using store = await openMadeStore(path);
      const log = createRefusalLog(0);
      let refused = 0;
      let told = 0;
      for (let now = 0; now < day; now += 5000) {
        const { event } = log.note(from(refused++), now);
        const count = now % timings.countRefusalsEvery === 0 ? log.count(now) : null;
        for (const each of [event, count]) if (each !== null) await store.audit.append(each);
        if (event !== null) told += 1;
        for (const [code, counted] of Object.entries(count?.detail ?? {}))
          if (code !== 'since') told += Number(counted);
        if (now % timings.checkpointEvery === 0)
          await store.audit.addCheckpoint((head) =>
            formatCheckpoint({ origin: madeOrigin, ...head }, madeAuditKey()),
          );
      }
      const rest = Object.entries(log.count(day)?.detail ?? {}).filter(([code]) => code !== 'since');
      assert.equal(
        rest.reduce((sum, [, counted]) => sum + Number(counted), told),
        refused,
      );
      const bytes = bytesOf(path);
      assert(bytes < 1_000_000, `${bytes} bytes`);
    });
});

function stranger(n: number, text: string): AuditRefusal {
  const isEnrolled = n % 2 === 0;
  const node = `${isEnrolled ? 'node' : 'invented'}-${n % 5_000}.${'a'.repeat(200)}`;
  const address = `2001:db8:${(n >> 8).toString(16)}:${(n & 0xff).toString(16)}::1`;
  return { code: reasonCodes[n % 60] ?? 'malformed', text, node, isEnrolled, address, isProven: false };
}

/** Of the audit log and its checkpoints on the disk. */
function bytesOf(path: string): number {
  const database = new DatabaseSync(path, { timeout: 5_000 });
  database.exec('pragma wal_checkpoint(truncate)');
  const { bytes } =
    database
      .prepare("select sum(pgsize) as bytes from dbstat where name in ('audit', 'checkpoints')")
      .get() ?? {};
  database.close();
  return Number(bytes);
}
