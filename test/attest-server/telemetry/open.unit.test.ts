import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import type { AuditEvent } from '../../../attest-server/protocol/audit.ts';
import { StorageFault } from '../../../attest-server/protocol/server-fault.ts';
import type { NodeState } from '../../../attest-server/protocol/verdict.ts';
import { madeTelemetry } from './made-telemetry.ts';

const note = () => ({ event: null, isRepeated: false });

describe('telemetry that is open before the audit log', () => {
  it('keeps what happens meanwhile, and writes it in its order', async () => {
    const { report, auditTo } = madeTelemetry();
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

  it('says in one line whom another policy changes, the worst first, and warns where one turns untrusted', () => {
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line) => void lines.push(line) });
    const { report } = madeTelemetry({ logger: log });
    const side = (state: NodeState) => ({ state });
    const trusted = { node: 'node-1', before: side('pending'), after: side('trusted'), changed: true };
    const untrusted = { node: 'node-2', before: side('trusted'), after: side('untrusted'), changed: true };
    const same = { node: 'node-3', before: side('trusted'), after: side('trusted'), changed: false };
    const unjudged = { node: 'node-4', before: null, after: null, changed: false };
    const policy = { name: 'strict', revision: '1' };
    report.policyCompared(policy, [trusted, untrusted, same, unjudged]);
    report.policyCompared(policy, [same]);
    const told = lines.map((line) => JSON.parse(line));
    assert.deepEqual(
      told.map(({ level, nodes, changed, untrusted, unjudged, named }) =>
        [level, nodes, changed, untrusted, unjudged, named].join(),
      ),
      ['40,4,2,1,1,node-2,node-1', '30,1,0,0,0,'],
    );
  });

  it('counts an entry that could not be written', async () => {
    const { report, auditTo, scraped } = madeTelemetry();
    auditTo({ note, write: () => Promise.reject(new Error('the disk is full')) });
    report.notReloaded('tokens', 'no file');
    await new Promise(setImmediate);
    assert.match(await scraped.text(), /^assay_audit_write_failures_total 1$/m);
  });

  it('keeps entries that found no room, and writes them once there is some, behind one that says what was', async () => {
    const { report, auditTo, scraped } = madeTelemetry();
    let isFull = true;
    const events: AuditEvent[] = [];
    const write = async (event: AuditEvent) => {
      if (isFull) throw new StorageFault('disk_full');
      events.push(event);
    };
    const series = 'assay_server_fault{cause="disk_full"}';
    assert((await scraped.text()).includes(`\n${series} 0\n`));
    auditTo({ note, write });
    report.storageFailed('disk_full', new StorageFault('disk_full'), true);
    report.failed(new StorageFault('disk_full'), { node: 'node-1' });
    report.notReloaded('tokens', 'no file');
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
});
