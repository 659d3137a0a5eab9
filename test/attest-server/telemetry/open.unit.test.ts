import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import type { AuditEvent } from '../../../attest-server/protocol/audit.ts';
import type { NodeState } from '../../../attest-server/protocol/verdict.ts';
import { openTelemetry } from '../../../attest-server/telemetry/open.ts';

const logger = pino({ level: 'silent' });
const note = () => ({ event: null, isRepeated: false });

describe('telemetry that is open before the audit log', () => {
  it('keeps what happens meanwhile, and writes it in its order', async () => {
    const { report, auditTo } = openTelemetry({ logger, version: '0.1.0', now: () => 7, recorded: () => {} });
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
    const { report } = openTelemetry({ logger: log, version: '0.1.0', now: () => 7, recorded: () => {} });
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
    const { report, auditTo, metrics } = openTelemetry({
      logger,
      version: '0.1.0',
      now: () => 7,
      recorded: () => {},
    });
    auditTo({ note, write: () => Promise.reject(new Error('the disk is full')) });
    report.notReloaded('tokens', 'no file');
    await new Promise(setImmediate);
    assert.match(await metrics.text(), /^assay_audit_write_failures_total 1$/m);
  });
});
