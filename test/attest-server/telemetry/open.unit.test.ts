import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import type { AuditEvent } from '../../../attest-server/protocol/audit.ts';
import { openTelemetry } from '../../../attest-server/telemetry/open.ts';

const parts = {
  logger: pino({ level: 'silent' }),
  version: '0.1.0',
  perNode: true,
  now: () => 7,
  recorded: () => {},
};
const note = () => ({ event: null, isRepeated: false });

describe('telemetry that is open before the audit log', () => {
  it('keeps what happens meanwhile, and writes it in its order', async () => {
    const { report, auditTo } = openTelemetry(parts);
    report.policyInForce({ name: 'strict', revision: '1' });
    report.notReloaded('roots', 'no folder');
    const events: AuditEvent[] = [];
    auditTo({ note, write: async (event) => void events.push(event) });
    report.notReloaded('tokens', 'no file');
    assert.deepEqual(
      events.map(({ action, subject }) => `${action} ${subject}`),
      ['policy.load strict@1', 'reload.refuse roots', 'reload.refuse tokens'],
    );
  });

  it('counts an entry that could not be written', async () => {
    const { report, auditTo, metrics } = openTelemetry(parts);
    auditTo({ note, write: () => Promise.reject(new Error('the disk is full')) });
    report.notReloaded('tokens', 'no file');
    await new Promise(setImmediate);
    assert.match(await metrics.text(), /^assay_audit_write_failures_total 1$/m);
  });
});
