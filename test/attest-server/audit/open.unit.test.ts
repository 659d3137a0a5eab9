import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import { openAudit } from '../../../attest-server/audit/open.ts';
import { auditReport } from '../../../attest-server/audit/telemetry.ts';
import { openCustody } from '../../../attest-server/custody/open.ts';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import { openMadeStore } from '../store/made-store.ts';
import { madeTelemetry } from '../telemetry/made-telemetry.ts';

describe('the audit log of a running server', () => {
  it('is not filled, nor is the log, by a stranger who shows again and again what it lost', async () => {
    const stateDir = await mkdtemp(join(tmpdir(), 'assay-audit-'));
    const lines: string[] = [];
    const logger = pino({ base: null, level: 'info' }, { write: (line: string) => void lines.push(line) });
    const now = () => 0;
    const open = async () => {
      const store = await openMadeStore(':memory:');
      const telemetry = madeTelemetry({ logger, now });
      const audit = await openAudit({
        store,
        stateDir,
        keys: openCustody(stateDir, stateDir).audit,
        now,
        monotonic: now,
        keeper: null,
        logger,
        report: auditReport(telemetry.reporting),
      });
      telemetry.auditTo(audit);
      const counted = /^assay_refusals_total\{code="audit_rollback"\} (\d+)$/m;
      const refused = async () => counted.exec(await telemetry.scraped.text())?.[1] ?? '0';
      return { store, audit, refused };
    };
    try {
      const before = await open();
      const event: AuditEvent = {
        at: 0,
        actor: 'server',
        action: 'enrol',
        subject: 'x',
        code: null,
        detail: {},
      };
      for (let entry = 0; entry < 50; entry += 1) await before.audit.write(event);
      await before.audit[Symbol.asyncDispose]();
      const witness = before.audit.shown()?.checkpoint ?? assert.fail();
      const after = await open();
      const counts = async () => [
        Number(await after.refused()),
        (await after.store.audit.entries({ limit: 99 })).length,
        lines.length,
      ];
      const [refused = 0, written = 0, told = 0] = await counts();
      for (let hello = 0; hello < 20; hello += 1) await after.audit.checkWitness('node-1', witness);
      // What is under way is written when this resolves; nothing else is signed by then.
      await after.audit[Symbol.asyncDispose]();
      // The one, and the count of the others.
      assert.deepEqual(await counts(), [refused + 20, written + 2, told + 1]);
    } finally {
      await rm(stateDir, { recursive: true });
    }
  });
});
