import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { eventLogError, renderEventLog } from '../../../../attest-server/cli/offline/eventlog.ts';
import { Rejection } from '../../../../attest-server/protocol/rejection.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';

const log = parseEventLog(recordedLog('fedora41-locality-3'));

describe('assay eventlog', () => {
  it('prints one JSON object in the shape of the interface', () => {
    const printed = JSON.parse(renderEventLog(log, 'json'));
    assert.deepEqual(Object.keys(printed), ['format', 'banks', 'startupLocality', 'events', 'notes']);
    assert.equal(printed.startupLocality, 3);
    const { format, banks, startupLocality, events, notes } = log;
    const expected = { format, banks, startupLocality, events, notes };
    assert.deepEqual(printed, JSON.parse(JSON.stringify(expected)));
    const keys = ['index', 'pcr', 'type', 'digests', 'stage', 'describes', 'verified'];
    assert.deepEqual(Object.keys(printed.events[0]), keys);
  });

  it('prints a table with a line for each event and PCR', () => {
    const lines = renderEventLog(log, 'table').split('\n');
    const pcrs = Object.values(log.banks).reduce((count, bank) => count + Object.keys(bank).length, 0);
    const titles = 2 + Object.keys(log.banks).length;
    assert.equal(lines.length, titles + log.events.length + pcrs + log.notes.length + 1);
  });

  it('tells where a log is wrong', () => {
    const error = new Rejection('malformed', 'text', { field: 'eventSize', offset: 7 });
    assert.deepEqual(eventLogError(error), {
      error: { code: 'malformed', offset: 7, field: 'eventSize', text: 'text' },
    });
  });
});
