import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import { StorageFault } from '../../../attest-server/formats/server-fault.ts';
import { healthReport } from '../../../attest-server/health/telemetry.ts';
import { madeTelemetry } from '../telemetry/made-telemetry.ts';

describe('the report of a full disk', () => {
  it('keeps audit entries that found no room, and writes them once there is some, behind one that says what was', async () => {
    const { reporting, auditTo, scraped } = madeTelemetry();
    const report = healthReport(reporting);
    let isFull = true;
    const events: AuditEvent[] = [];
    const write = async (event: AuditEvent) => {
      if (isFull) throw new StorageFault('disk_full');
      events.push(event);
    };
    const series = 'assay_server_fault{cause="disk_full"}';
    assert((await scraped.text()).includes(`\n${series} 0\n`));
    auditTo({ note: () => ({ event: null, isRepeated: false }), write });
    report.storageFailed('disk_full', new StorageFault('disk_full'), true);
    report.failed(new StorageFault('disk_full'), { node: 'node-1', role: 'agent' });
    reporting.audit('reload.refuse', 'tokens', {});
    await new Promise(setImmediate);
    assert((await scraped.text()).includes(`\n${series} 1\n`));
    isFull = false;
    report.storageWorks({ cause: 'disk_full', since: 7 });
    await new Promise(setImmediate);
    assert.deepEqual(
      events.map(({ action, code, detail }) => [action, code, detail.answers, detail.late, detail.lost]),
      [
        ['server.fault', 'server_fault', 1, 1, 0],
        ['reload.refuse', null, undefined, undefined, undefined],
      ],
    );
    const text = await scraped.text();
    assert(text.includes(`\n${series} 0\n`));
    assert(text.includes('\nassay_server_faults_total{cause="disk_full"} 1\n'));
    assert(text.includes('\nassay_audit_write_failures_total 1\n'));
  });

  it('has a line for each node that gets no key of a disk because of it, however often it asks', () => {
    const lines: string[] = [];
    const logger = pino({}, { write: (line: string) => lines.push(line) });
    const report = healthReport(madeTelemetry({ logger }).reporting);
    for (const role of ['agent', 'unlock', 'unlock'] as const)
      report.failed(new StorageFault('disk_full'), { node: 'node-1', role });
    report.failed(new StorageFault('disk_full'), { node: 'node-2', role: 'unlock' });
    assert.deepEqual(
      lines.map((line) => JSON.parse(line)).map(({ node, code, msg }) => [node, code, msg]),
      ['node-1', 'node-2'].map((node) => [
        node,
        'server_fault',
        'no key of a disk, since nothing can be stored: the disk of the server is full',
      ]),
    );
  });
});
