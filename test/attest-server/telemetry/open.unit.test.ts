import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import { madeTelemetry } from './made-telemetry.ts';

const note = () => ({ event: null, isRepeated: false });

describe('telemetry that is open before the audit log', () => {
  it('keeps what happens meanwhile, and writes it in its order', async () => {
    const { reporting, auditTo } = madeTelemetry();
    reporting.audit('policy.load', 'strict@1', {});
    reporting.audit('reload.refuse', 'roots', {});
    const events: AuditEvent[] = [];
    auditTo({ note, write: async (event) => void events.push(event) });
    reporting.audit('reload.refuse', 'tokens', {});
    assert.deepEqual(
      events.map(({ action, subject }) => `${action} ${subject}`),
      ['policy.load strict@1', 'reload.refuse roots', 'reload.refuse tokens'],
    );
  });

  it('counts an entry that could not be written', async () => {
    const { reporting, auditTo, scraped } = madeTelemetry();
    auditTo({ note, write: () => Promise.reject(new Error('the disk is full')) });
    reporting.audit('reload.refuse', 'tokens', {});
    await new Promise(setImmediate);
    assert.match(await scraped.text(), /^assay_audit_write_failures_total 1$/m);
  });
});
